package mysql_test

import (
	"strings"
	"testing"

	"github.com/waybill-go/waybill/store/internal/dialecttest"
	"github.com/waybill-go/waybill/store/mysql"
)

func TestNoNameIsTooLongForMySQL(t *testing.T) {
	dialecttest.NamesAreAtMost(t, mysql.Dialect(), 64)
}

func TestTheLongestPrefixWorks(t *testing.T) {
	db := open(t, interpolated)
	name := (dialecttest.DatabaseName() + strings.Repeat("_long", 8))[:40]
	drop(t, db, name)
	for range 2 {
		names := dialecttest.Migrate(t, db, mysql.Dialect(), name+"."+strings.Repeat("p", 20))
		if _, err := db.ExecContext(t.Context(), `INSERT INTO `+names.Message+` (destination, business_mark, message_content) VALUES ('orders', 'A-1', 'x')`); err != nil {
			t.Fatal(err)
		}
	}
}
