package store_test

import (
	"fmt"
	"strings"

	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/sqlite"
)

// Who keeps migrations of their own puts Waybill's SQL among them.
func ExampleScript() {
	script, err := store.Script(sqlite.Dialect(), "app_", store.ScriptOptions{Sides: []store.Side{store.Consumer}})
	check(err)
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "CREATE") || strings.HasPrefix(line, "INSERT") {
			fmt.Print(line)
		}
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS app_waybill_version (
	// CREATE TABLE IF NOT EXISTS app_n1_record (
	// CREATE TABLE IF NOT EXISTS app_n2_record (
	// CREATE TABLE IF NOT EXISTS app_n_horizon (
	// CREATE TABLE IF NOT EXISTS app_n_pause (
	// CREATE TABLE IF NOT EXISTS app_n2_record (
	// CREATE TABLE IF NOT EXISTS app_n2_record_typed (
	// INSERT INTO app_n2_record_typed AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
	// CREATE TABLE IF NOT EXISTS app_n2_record (
	// INSERT INTO app_n2_record AS r (consumer, dest_name, dest_type, business_mark, time_stamp, message_id, producer)
	// CREATE TABLE IF NOT EXISTS app_n_rejected (
	// CREATE INDEX IF NOT EXISTS app_n_rejected_waiting ON app_n_rejected (consumer, id) WHERE status = 0;
	// CREATE INDEX IF NOT EXISTS app_n_rejected_message_id ON app_n_rejected (message_id);
	// INSERT INTO app_waybill_version (side, version) VALUES ('consumer.2', 2)
	// INSERT INTO app_waybill_version (side, version) VALUES ('consumer', 2)
}
