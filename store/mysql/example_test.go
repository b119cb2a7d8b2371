package mysql_test

import (
	"fmt"
	"strings"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/mysql"
)

// The dialect is what the outbox, the relay, the inbox and the functions of package
// store are told the database with; here Script shows how its SQL begins, and that it
// is for the command mysql, which needs another delimiter around a trigger.
func ExampleDialect() {
	script, err := store.Script(mysql.Dialect(), "shop_", store.ScriptOptions{Sides: []store.Side{store.Producer}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "CREATE") || strings.HasPrefix(line, "DELIMITER") {
			fmt.Print(line)
		}
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS shop_waybill_version (
	// CREATE TABLE IF NOT EXISTS shop_qmessage (
	// CREATE TABLE IF NOT EXISTS shop_qmessage_key (
	// CREATE TABLE IF NOT EXISTS shop_qrelay (
	// DELIMITER $$
	// CREATE TRIGGER shop_qmessage_fill BEFORE INSERT ON shop_qmessage FOR EACH ROW
	// DELIMITER ;
	// CREATE TABLE IF NOT EXISTS shop_qoutbox (
	// CREATE TABLE IF NOT EXISTS shop_qconfirmed (
	// CREATE TABLE IF NOT EXISTS shop_qpause (
	// DELIMITER $$
	// CREATE TRIGGER shop_qmessage_fill BEFORE INSERT ON shop_qmessage FOR EACH ROW
	// DELIMITER ;
}
