package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// wrongPlaces are command lines in which an address stands where none belongs, or a wrong one
// where one does; nothing connects.
func wrongPlaces(addr string) [][]string {
	return [][]string{
		{addr}, {"status", addr}, {"send", "orders", addr}, {"send", addr + "/", "--body", "x", "--not-before", addr},
		{"show", addr}, {"health", addr}, {"relay", "--producer", "shop", "--window", addr}, {"relay", "--producer=" + addr + ","}, {"status", "--prefix", addr}, {"status", "--prefix=" + addr},
		{"status", "--db", "x" + addr}, {"relay", "--producer", "shop", "--broker", "x" + addr}, {"status", "--log-level", addr}, {"status", "--log-format", addr},
		{"receive", "orders", "--consumer", "c", "--level", addr}, {"init", "--side", addr}, {"init", "--dialect", addr}, {"pause", "orders", "--until", addr}, {"ui", "--http-proxies", addr},
	}
}

// In this process: there are too many for one of their own each.
func TestNoPieceOfAPasswordIsShownOfAWrongCommandLine(t *testing.T) {
	for _, name := range []string{"WAYBILL_BROKER", "WAYBILL_PREFIX"} {
		t.Setenv(name, "")
	}
	t.Setenv("WAYBILL_DB", "sqlite:"+t.TempDir()+"/none.db")
	before := slog.Default()
	defer slog.SetDefault(before)
	const long = "Vq7ZkWx9JmYf2HbVq7ZkWx9JmYf2HbVq7ZkWx9JmYf2HbVq7ZkWx9JmYf2HbVq7ZkWx9JmYf2HbVq7ZkWx9JmYf2Hb"
	for _, form := range []string{
		"postgres://user:§@host/app", "postgres://user?§@host/app", "mysql:user:§@host/app", "nats://§@host", "amqp://user:§@host", "user:§@tcp(host)/app",
		"host=db user=u password=§", "host=db user=u password='§' dbname=app", "Server=db;Pwd=§", "jdbc:postgresql://h:5432/db;password=§", "postgres://host/app?PASSWORD=§&a=b",
		"failover:(tcp://a:1,ssl://u:§@b:2)?x=y", "kafka://user:§@host1:9092 kafka://user:§@host2:9092",
	} {
		for _, secret := range []string{"Vq7ZkWx9Jm", "Vq7Zk?Wx9Jm", "Vq7Zk/Wx9Jm", "Vq7Zk Wx9Jm", "Vq7Zk:Wx9Jm", "Vq7Zk@Wx9Jm", `Vq7Zk"Wx9Jm`, `Vq7Zk'Wx9Jm\`, "Vq7Zk%40Wx9Jm", "Vq7Zk#Wx9Jm,", long} {
			if strings.HasPrefix(form, "nats") && strings.Contains(secret, ":") {
				continue // the user
			}
			for _, args := range wrongPlaces(strings.ReplaceAll(form, "§", secret)) {
				var out bytes.Buffer
				status := run(args, &out, &out)
				shown := ""
				for i := 0; i+4 <= len(secret); i++ {
					if strings.Contains(out.String(), secret[i:i+4]) {
						shown = fmt.Sprintf("%q of the password", secret[i:i+4])
					}
				}
				if status == 0 || shown != "" {
					t.Errorf("waybill %q: got exit status %d and %s in the output %s", args, status, shown, out.String())
				}
			}
		}
	}
}
