package postgres_test

import (
	"fmt"
	"strings"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/postgres"
)

// The dialect is what the outbox, the relay, the inbox and the functions of package
// store are told the database with; here Script shows a part of its SQL.
func ExampleDialect() {
	script, err := store.Script(postgres.Dialect(), "shop.", store.ScriptOptions{Sides: []store.Side{store.Producer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for paragraph := range strings.SplitSeq(script, "\n\n") {
		if strings.HasPrefix(paragraph, "CREATE INDEX") || strings.HasPrefix(paragraph, "CREATE TRIGGER") {
			fmt.Println(paragraph)
		}
	}
	// Output:
	// CREATE INDEX IF NOT EXISTS qmessage_due ON shop.qmessage (not_before, id)
	// WHERE not_before > 0 AND status = 0;
	// CREATE INDEX IF NOT EXISTS qmessage_rejected ON shop.qmessage (id) WHERE status = 2;
	// CREATE TRIGGER qmessage_fill BEFORE INSERT ON shop.qmessage FOR EACH ROW
	// WHEN (NEW.message_id IS NULL OR NEW.time_stamp = 0 OR NEW.sequence = 0 AND NEW.business_mark <> '')
	// EXECUTE FUNCTION shop.qmessage_fill();
	// CREATE INDEX IF NOT EXISTS qmessage_pending ON shop.qmessage (uuid_send(message_id)) WHERE coalesce(status + 0 = 0, false);
	// CREATE INDEX IF NOT EXISTS qmessage_rejected_id ON shop.qmessage (uuid_send(message_id)) WHERE coalesce(status + 0 = 2, false);
}

// A program in any language may wake the relays, once it has committed rows of its own:
// NOTIFY "shop_qmessage".
func ExampleChannel() {
	fmt.Println(postgres.Channel("shop_"))
	// Output: shop_qmessage
}
