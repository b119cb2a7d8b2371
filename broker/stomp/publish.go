package stomp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-stomp/stomp/v3/frame"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/jmsbroker"
)

const (
	// unitMessages and unitBytes bound what is sent as one transaction. ActiveMQ keeps
	// an open transaction in memory, and one of more than a few hundred messages saves no
	// more time.
	unitMessages = 500
	unitBytes    = 2 << 20
	// unitsUnderWay bounds the units without an answer.
	unitsUnderWay = 4
)

// unit is several messages that one receipt stands for.
type unit struct {
	messages   []int // positions in the batch
	bytes      int
	transacted bool
	waiter     *waiter
}

// Publish sends the messages in transactions of up to 500, with one receipt for each
// commit. Transient ones are sent without a transaction, and a receipt stands for all
// those before it. Where the broker says that something was wrong in a unit, each of its
// messages is sent once more by itself, with a receipt of its own: that a message may
// arrive twice matters less than its true fate.
func (c *conn) Publish(ctx context.Context, messages []broker.Message, transport waybill.Transport) ([]broker.Result, error) {
	p := &publication{
		socket: c.publisher, messages: messages, transient: transport == waybill.Transient,
		results: make([]broker.Result, len(messages)),
	}
	var sound []int
	for i := range messages {
		if err := c.check(&messages[i]); err != nil {
			p.results[i] = broker.Result{Fate: broker.Unacceptable, Err: err}
			continue
		}
		sound = append(sound, i)
	}
	doubtful := p.send(ctx, p.split(sound, unitMessages, unitBytes))
	p.send(ctx, p.split(doubtful, 1, 0))
	for i := range p.results {
		if p.results[i].Fate == broker.Unknown && p.results[i].Err == nil {
			p.results[i].Err = errors.New("stomp: the message's fate is unknown")
		}
	}
	if p.dead {
		<-c.Done()
		return p.results, fmt.Errorf("stomp: publish: %w", c.Err())
	}
	return p.results, nil
}

// publication is one call of Publish.
type publication struct {
	socket    *socket
	messages  []broker.Message
	transient bool
	results   []broker.Result
	dead      bool // the connection has ended
}

// split divides the messages at these positions into units.
func (p *publication) split(which []int, most, mostBytes int) []*unit {
	var units []*unit
	for _, i := range which {
		size := len(p.messages[i].Body)
		last := len(units) - 1
		if last < 0 || len(units[last].messages) >= most || units[last].bytes+size > mostBytes {
			units = append(units, &unit{})
			last++
		}
		units[last].messages = append(units[last].messages, i)
		units[last].bytes += size
	}
	return units
}

// send sends units, a few of them under way at a time, and returns the positions of the
// messages whose fate is found out only when they are sent singly.
func (p *publication) send(ctx context.Context, units []*unit) (doubtful []int) {
	window := unitsUnderWay
	if len(units) > 0 && len(units[0].messages) == 1 {
		window = unitMessages // of single messages
	}
	for sent, settled := 0, 0; settled < len(units); {
		for sent < len(units) && sent-settled < window && !p.dead && ctx.Err() == nil {
			u := units[sent]
			u.waiter = p.socket.expect(p.socket.id())
			if err := p.socket.send(ctx, p.encode(u)); err != nil {
				p.socket.forget(u.waiter)
				p.fate(u, broker.Unknown, err)
				p.dead = p.dead || ctx.Err() == nil
				u.waiter = nil
			}
			sent++
		}
		u := units[settled]
		settled++
		if settled > sent { // not sent at all
			p.fate(u, broker.Unknown, errors.Join(ctx.Err(), p.socket.failure()))
			sent = settled
			continue
		}
		if u.waiter == nil {
			continue
		}
		a, err := p.socket.wait(ctx, u.waiter)
		p.parts(u, a)
		switch {
		case err != nil:
			p.fate(u, broker.Unknown, err)
		case a.dead:
			p.dead = true
			p.died(u, a)
		case a.err == nil && !a.strays:
			p.fate(u, broker.Confirmed, nil)
		case len(u.messages) > 1:
			for _, i := range u.messages {
				if p.results[i].Fate == broker.Unknown {
					doubtful = append(doubtful, i)
				}
			}
		case a.err == nil: // the receipt is for this message alone: the ERROR was about another
			p.fate(u, broker.Confirmed, nil)
		default:
			p.fate(u, verdict(a.err), a.err)
		}
	}
	return doubtful
}

// fate sets the results of those messages of a unit that have none yet.
func (p *publication) fate(u *unit, fate broker.Fate, err error) {
	for _, i := range u.messages {
		if p.results[i].Fate == broker.Unknown {
			p.results[i] = broker.Result{Fate: fate, Err: err}
		}
	}
}

// parts sets the results of the messages of a unit that have answers of their own: of
// those with an error, and outside a transaction of those with a receipt.
func (p *publication) parts(u *unit, a answer) {
	for n, err := range a.parts {
		i := u.messages[n]
		switch {
		case err != nil:
			p.results[i] = broker.Result{Fate: verdict(err), Err: err}
		case !u.transacted:
			p.results[i] = broker.Result{Fate: broker.Confirmed}
		}
	}
}

// died sets the results of a unit that was under way when the connection ended. A broker
// that finds a frame too large says so, without saying which, and hangs up. Then the
// largest message of the unit that it was reading must be too large; it has to be
// Unacceptable, or it would break every connection that follows.
func (p *publication) died(u *unit, a answer) {
	p.fate(u, broker.Unknown, a.err)
	if !a.first || verdict(a.err) != broker.Unacceptable {
		return
	}
	largest := -1
	for _, i := range u.messages {
		if p.results[i].Fate == broker.Unknown && (largest < 0 || len(p.messages[i].Body) > len(p.messages[largest].Body)) {
			largest = i
		}
	}
	if largest >= 0 {
		p.results[largest].Fate = broker.Unacceptable
	}
}

// verdict is the fate of a message by the broker's error.
func verdict(err error) broker.Fate {
	var said *BrokerError
	if !errors.As(err, &said) {
		return broker.Unknown
	}
	text := strings.ToLower(said.Message)
	for _, v := range verdicts {
		if strings.Contains(text, v.words) {
			return v.fate
		}
	}
	return broker.Refused
}

// verdicts are parts of the errors of ActiveMQ Classic and Artemis, in lower case: STOMP
// has no codes.
var verdicts = []struct {
	words string
	fate  broker.Fate
}{
	{"length was exceeded", broker.Unacceptable},
	{"size was exceeded", broker.Unacceptable},
	{"number of headers", broker.Unacceptable},
	{"unsupported message type", broker.Unacceptable},
	{"connection is not valid", broker.Unknown}, // Artemis, about each message after the one that it refused
	{"heap space", broker.Unknown},              // Classic, which may have stored the message before
}

// encode makes the frames of a unit.
func (p *publication) encode(u *unit) *batch {
	b := newBatch()
	transaction := ""
	// Artemis hangs up after an ERROR, so the ERROR itself has to say which message it is
	// about. Classic goes on, and with a receipt for each message a transaction would take
	// it several times as long.
	each := p.socket.kind == jmsbroker.Artemis
	if u.transacted = len(u.messages) > 1 && !p.transient; u.transacted {
		transaction = p.socket.id()
		b.add(frame.New(frame.BEGIN, frame.Transaction, transaction))
	}
	for n, i := range u.messages {
		m := &p.messages[i]
		f := frame.New(frame.SEND,
			frame.Destination, jmsbroker.STOMPAddress(p.socket.kind, m.Destination, m.Topic),
			frame.ContentLength, strconv.Itoa(len(m.Body)),
			"persistent", strconv.FormatBool(!p.transient))
		if p.socket.kind == jmsbroker.Artemis {
			f.Header.Add("destination-type", routing(m.Topic))
		}
		if u.transacted {
			f.Header.Add(frame.Transaction, transaction)
		}
		switch {
		case !u.transacted && n == len(u.messages)-1:
			f.Header.Add(frame.Receipt, u.waiter.id)
		case each:
			f.Header.Add(frame.Receipt, part(u.waiter.id, n))
		}
		if m.ContentType != "" {
			f.Header.Add(frame.ContentType, m.ContentType)
			f.Header.Add(contentTypeProperty, m.ContentType)
		}
		for _, h := range m.Headers {
			f.Header.Add(h.Name, h.Value)
		}
		if p.socket.kind != jmsbroker.Artemis {
			for _, h := range companions(m) {
				f.Header.Add(h.Name, h.Value)
			}
		}
		f.Body = m.Body
		b.add(f)
	}
	if u.transacted {
		b.add(frame.New(frame.COMMIT, frame.Transaction, transaction, frame.Receipt, u.waiter.id))
	}
	return b
}
