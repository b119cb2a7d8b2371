package pgxdriver_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker/memory"
	"github.com/waybill-go/waybill/inbox"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/relay"
	"github.com/waybill-go/waybill/store/postgres"
	"github.com/waybill-go/waybill/store/postgres/pgxdriver"
)

// A program that uses pgx itself sends within its own transactions.
func ExampleTx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(ctx)
	out, err := outbox.New(postgres.Dialect(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE orders SET state = 'paid' WHERE id = $1`, "A-1"); err != nil {
			return err
		}
		return out.Send(ctx, pgxdriver.Tx(tx), waybill.Message{Destination: "orders", Key: "A-1", Body: []byte(`{"state":"paid"}`)})
	})
	fmt.Println(err)
}

// A relay that listens for PostgreSQL's notifications sends at once what other
// processes commit, and need not poll often.
func ExampleListener() {
	ctx := context.Background()
	address := os.Getenv("DATABASE_URL")
	config, err := pgx.ParseConfig(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	r, err := relay.New(db, postgres.Dialect(), memory.New(nil), &relay.Options{
		Producer: "shop",
		Listen:   pgxdriver.Listener(address, postgres.Channel("")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Run(ctx))
}

// A service with a pool of pgx's and nothing else: its relay and its inbox work on the
// pool, and its handlers have a pgx.Tx.
func ExampleHandler() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	brk := memory.New(nil)
	r, err := relay.New(db, postgres.Dialect(), brk, &relay.Options{
		Producer: "shop",
		Listen:   pgxdriver.PoolListener(pool, postgres.Channel("")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	in, err := inbox.New(db, postgres.Dialect(), brk, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		fmt.Println(err)
		return
	}
	in.Handle("orders", waybill.Once, pgxdriver.Handler(func(ctx context.Context, tx pgx.Tx, m *waybill.Message) error {
		lines := strings.Split(string(m.Body), "\n")
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"lines"}, []string{"order_id", "item"}, pgx.CopyFromSlice(len(lines), func(i int) ([]any, error) {
			return []any{m.Key, lines[i]}, nil
		}))
		return err
	}))
	go r.Run(ctx)
	fmt.Println(in.Run(ctx))
}
