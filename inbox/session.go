package inbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/internal/backoff"
	"github.com/waybill-go/waybill/internal/fault/crash"
)

// connect keeps a connection to the broker until receive has ended and what was
// received is settled. It returns an error only where the broker refuses the very first
// one. See Run for the contexts.
func (in *Inbox) connect(receive, settle, finish context.Context) error {
	wait := backoff.Backoff{Least: 100 * time.Millisecond, Most: 10 * time.Second}
	told := false // the log has it that there is no connection
	connected := func() {
		switch {
		case told:
			in.log.InfoContext(receive, "connected to the broker again")
			in.repeats.Over("connection")
		case !in.wasConnected.Load():
			in.log.InfoContext(receive, "connected to the broker")
		}
		told = false
	}
	for receive.Err() == nil {
		began := time.Now()
		err := in.session(receive, settle, finish, connected)
		if receive.Err() != nil {
			return nil
		}
		if errors.Is(err, broker.ErrRefused) && !in.wasConnected.Load() {
			return err
		}
		if times, due := in.repeats.Due("connection", errorText(err)); due {
			told = true
			in.log.WarnContext(receive, "no connection to the broker; connecting again", slog.Int64("times", times), slog.Any("error", err))
		}
		in.counters.disconnects.Add(1)
		if time.Since(began) > wait.Most {
			wait.Reset()
		}
		wait.Sleep(receive)
	}
	return nil
}

// session is the life of one connection. connected is called once there is one.
func (in *Inbox) session(receive, settle, finish context.Context, connected func()) error {
	opening, cancel := context.WithTimeout(receive, 30*time.Second)
	crash.Point("inbox.connect.before")
	conn, err := in.broker.Connect(opening)
	crash.Point("inbox.connect.after")
	cancel()
	if err != nil {
		return err
	}
	connected()
	in.wasConnected.Store(true)
	in.connected.Store(true)
	defer in.connected.Store(false)
	defer in.close(finish, conn)
	// alive ends with the connection.
	alive, dead := context.WithCancel(settle)
	defer dead()
	receiving, stop := context.WithCancel(receive)
	defer stop()
	var work sync.WaitGroup
	defer work.Wait()
	in.parts.Go(&work, "the connection to the broker", func() { in.receipts.send(alive, conn) })
	for _, r := range in.routes {
		in.parts.Go(&work, "the connection to the broker", func() { r.receive(receiving, alive, conn) })
	}
	select {
	case <-conn.Done():
	case <-receive.Done():
		// Stopping: the connection stays for acknowledgements and receipts.
		select {
		case <-conn.Done():
		case <-settle.Done():
		}
	}
	dead()
	stop()
	return conn.Err()
}

// close closes a connection, politely for Options.Drain, or for what finish leaves of
// that where the inbox stops.
func (in *Inbox) close(finish context.Context, conn broker.Conn) {
	closing, cancel := context.WithTimeout(finish, in.o.Drain)
	defer cancel()
	crash.Point("inbox.close.before")
	err := conn.Close(closing)
	crash.Point("inbox.close.after")
	if err != nil {
		in.log.DebugContext(closing, "broker connection not closed cleanly", slog.Any("error", err))
	}
}
