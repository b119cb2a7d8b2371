// Command shop is an order service: it places, ships and delivers orders over HTTP
// and tells of each change with a message that commits together with it. The relay,
// which takes the messages to the broker, runs in the same process.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybill-go/waybill/examples/orders/connect"
	"github.com/waybill-go/waybill/examples/orders/order"
	"github.com/waybill-go/waybill/relay"
)

func main() {
	database := flag.String("db", cmp.Or(os.Getenv("SHOP_DB"), "sqlite:shop.db"), "address of the database (SHOP_DB)")
	brokerAt := flag.String("broker", cmp.Or(os.Getenv("SHOP_BROKER"), "embedded:shop-broker"), "address of the broker (SHOP_BROKER)")
	listen := flag.String("http", "127.0.0.1:8081", "address to listen on")
	flag.Parse()
	if err := run(*database, *brokerAt, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(database, brokerAt, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	db, dialect, err := connect.Database(database)
	if err != nil {
		return err
	}
	defer db.Close()
	b, end, err := connect.Broker(brokerAt)
	if err != nil {
		return err
	}
	defer end()
	orders, err := order.New(ctx, db, dialect)
	if err != nil {
		return err
	}
	r, err := relay.New(db, dialect, b, &relay.Options{Producer: "shop", Wake: orders.Committed()})
	if err != nil {
		return err
	}
	slog.InfoContext(ctx, "taking orders", slog.String("address", "http://"+listen))
	return connect.Run(ctx, r.Run, connect.HTTP(listen, routes(orders)))
}

func routes(orders *order.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{id}", func(w http.ResponseWriter, q *http.Request) {
		id := q.PathValue("id")
		answer(w, id, order.Placed, orders.Place(q.Context(), id))
	})
	for _, state := range []string{order.Shipped, order.Delivered} {
		mux.HandleFunc("POST /orders/{id}/"+state, func(w http.ResponseWriter, q *http.Request) {
			id := q.PathValue("id")
			answer(w, id, state, orders.Change(q.Context(), id, state))
		})
	}
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, q *http.Request) {
		id := q.PathValue("id")
		state, err := orders.State(q.Context(), id)
		answer(w, id, state, err)
	})
	return mux
}

func answer(w http.ResponseWriter, id, state string, err error) {
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(order.Changed{Order: id, State: state})
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "no such order", http.StatusNotFound)
	case errors.Is(err, order.ErrState), errors.Is(err, order.ErrPlaced):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
