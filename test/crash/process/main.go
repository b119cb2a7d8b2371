// Command process is what test/crash kills: a producer, a relay or a consumer, built
// with the tag crashpoints. Package crash says how it is told where to die.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-go/waybill/broker/nats"
)

// part is what all three have.
type part struct {
	db     *sql.DB
	broker *nats.Broker
	waves  int  // for the producer: how many of them there are to be
	rough  bool // everything that can go wrong does
}

func main() {
	if err := run(); err != nil {
		slog.Error("process failed", slog.Any("error", err))
		os.Exit(1)
	}
}

func run() error {
	role := flag.String("role", "", "producer, relay or consumer")
	db := flag.String("db", "", "path of the SQLite file")
	at := flag.String("broker", "", "address of the NATS server")
	p := &part{}
	flag.IntVar(&p.waves, "waves", 0, "the producer's waves")
	flag.BoolVar(&p.rough, "rough", false, "everything that can go wrong does")
	flag.Parse()

	var err error
	// Without a sync: it would be for a machine that dies, and here processes do.
	p.db, err = sql.Open("sqlite", "file:"+*db+"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=foreign_keys(on)")
	if err != nil {
		return err
	}
	defer p.db.Close()
	p.broker, err = nats.New(*at, &nats.Options{AckWait: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // ends with the process; so that this one ends with the test's
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	switch *role {
	case "producer":
		return p.produce(ctx)
	case "relay":
		return p.relay(ctx)
	case "consumer":
		return p.consume(ctx)
	}
	return fmt.Errorf("no role is called %q", *role)
}
