// Package demo is 'waybill demo': an order service and a shipping service, each
// with a database of its own, whose messages arrive whatever happens to them on the
// way, and a verdict that compares the two databases.
//
// The broker, the relay and the shipping service are processes of their own, so
// that they can be killed. The order service and the verdict are in the demo's own
// process.
//
// The files: demo.go (options, Run), play.go and acts.go (what happens), shop.go
// and desk.go (the order service), shipping.go (the shipping service), part.go and
// broker.go (the processes), child.go (how they are started and killed), check.go
// (the verdict), report.go and screen.go (what a person sees).
package demo

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/address"
)

// Options are what a demo is asked for.
type Options struct {
	// Messages is how many messages the order service commits. Default 2,000.
	Messages int64
	// Seed decides what goes wrong, and where. Default a random one.
	Seed uint64
	// Dir keeps the files: the databases, the broker's directory and the logs. It may
	// exist and has to be empty. Default a temporary one, removed at the end.
	Dir string
	// Command makes the command that runs Part in a process of its own.
	Command func() (*exec.Cmd, error)
	// Out gets what a person reads.
	Out io.Writer
	// Width is the terminal's width in columns, where Out is one; nil otherwise.
	Width func() int
	// Colour allows colours.
	Colour bool
	// Span is how long the order service takes for its messages, at least. Default
	// 16 s.
	Span time.Duration
	// Patience is how long to wait for the last messages while nothing moves any
	// more. Default 30 s.
	Patience time.Duration

	acts []act // nil: the whole play
}

// DefaultMessages is the default of Options.Messages.
const DefaultMessages = 2000

// Run runs the demo. It returns an error where the demo could not be played to its
// end; a bad verdict is none, but Report.OK.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Messages == 0 {
		o.Messages = DefaultMessages
	}
	if o.Messages < 0 {
		return nil, fmt.Errorf("%d messages are too few", o.Messages)
	}
	for o.Seed == 0 {
		var seed [2]byte
		_, _ = rand.Read(seed[:]) // never fails
		o.Seed = uint64(binary.BigEndian.Uint16(seed[:]))
	}
	if o.Span == 0 {
		o.Span = 16 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.acts == nil {
		o.acts = wholePlay
	}
	dir, err := supervisor.Directory(o.Dir, "waybill-demo-")
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		defer func() { _ = os.RemoveAll(dir) }()
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &play{o: o, dir: dir, began: time.Now(), screen: &screen{out: o.Out, width: o.Width, colour: o.Colour}}
	p.setAct("getting ready")
	defer p.end()
	if err := p.open(ctx, cancel); err != nil {
		return nil, reason(ctx, err)
	}
	return p.run(ctx, cancel)
}

// open makes the databases and readies the parts.
func (p *play) open(ctx context.Context, fail context.CancelCauseFunc) error {
	orders, shipping := filepath.Join(p.dir, "orders.db"), filepath.Join(p.dir, "shipping.db")
	db, dialect, err := address.OpenDatabase("sqlite:" + orders)
	if err != nil {
		return err
	}
	p.ordersDB = db
	if p.shop, err = openShop(ctx, db, dialect); err != nil {
		return err
	}
	if p.shippingDB, _, err = address.OpenDatabase("sqlite:" + shipping); err != nil {
		return err
	}
	if err := openShipping(ctx, p.shippingDB, dialect); err != nil {
		return err
	}
	url, err := supervisor.BrokerAddress(ctx)
	if err != nil {
		return err
	}
	p.brokerDir = filepath.Join(p.dir, "broker")
	part := func(name string, e errand) *child {
		e.Broker, e.Seed = url, p.o.Seed
		c := &child{first: e}
		c.Name, c.Command, c.Errand = name, p.o.Command, c.errand
		c.LogPath, c.Failed = filepath.Join(p.dir, e.Part+".log"), func(err error) { fail(err) }
		return c
	}
	p.broker = part("broker", errand{Part: brokerPart, Dir: p.brokerDir})
	p.relay = part("relay", errand{Part: relayPart, Database: orders})
	p.shipping = part("shipping service", errand{Part: shippingPart, Database: shipping})
	return nil
}

// end ends what is left, in whatever state the demo is.
func (p *play) end() {
	p.screen.clear()
	for _, c := range []*child{p.relay, p.shipping, p.broker} {
		if c != nil {
			c.Kill()
		}
	}
	for _, db := range []*sql.DB{p.ordersDB, p.shippingDB} {
		if db != nil {
			_ = db.Close()
		}
	}
}

// ErrInterrupted is what Run returns where the person ended it.
var ErrInterrupted = errors.New("the demo was interrupted")
