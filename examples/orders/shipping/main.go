// Command shipping is a shipping service: it keeps the latest state of each order
// that the shop tells of, and shows it over HTTP.
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
	"github.com/waybill-go/waybill/examples/orders/shipment"
	"github.com/waybill-go/waybill/inbox"
)

func main() {
	database := flag.String("db", cmp.Or(os.Getenv("SHIPPING_DB"), "sqlite:shipping.db"), "address of the database (SHIPPING_DB)")
	brokerAt := flag.String("broker", cmp.Or(os.Getenv("SHIPPING_BROKER"), "nats://"+connect.Listen), "address of the broker (SHIPPING_BROKER)")
	listen := flag.String("http", "127.0.0.1:8082", "address to listen on")
	flag.Parse()
	if err := run(*database, *brokerAt, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "shipping:", err)
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
	shipments, err := shipment.New(ctx, db, dialect, b, &inbox.Options{Consumer: "shipping"})
	if err != nil {
		return err
	}
	slog.InfoContext(ctx, "showing shipments", slog.String("address", "http://"+listen))
	return connect.Run(ctx, shipments.Run, connect.HTTP(listen, routes(shipments)))
}

func routes(shipments *shipment.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shipments/{id}", func(w http.ResponseWriter, q *http.Request) {
		id := q.PathValue("id")
		state, err := shipments.State(q.Context(), id)
		switch {
		case err == nil:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]string{"order": id, "state": state})
		case errors.Is(err, sql.ErrNoRows):
			http.Error(w, "nothing has arrived of this order", http.StatusNotFound)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}
