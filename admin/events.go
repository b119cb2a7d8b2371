package admin

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-go/waybill/internal/survey"
	"github.com/waybill-go/waybill/store"
)

// update is what a page that is open is told: the texts and lines of its elements by their
// data-live and data-spark.
type update struct {
	Texts  map[string]string `json:"texts"`
	Sparks map[string]string `json:"sparks"`
	States map[string]string `json:"states"` // the classes of rows, by their data-row
	Shape  string            `json:"shape"`  // what is listed; another one is a reason to load the page again
}

// updateOf is the update that leads to a state.
func (v *view) updateOf(o *overview) *update {
	u := &update{Texts: map[string]string{}, Sparks: map[string]string{}, States: map[string]string{}, Shape: shapeOf(o)}
	for i := range o.Databases {
		d := &o.Databases[i]
		key := fmt.Sprint("d", i)
		u.Texts[key+".at"], u.Texts[key+".problem"] = v.clock(d.At), v.t(d.Problem)
		if d.Outbox != nil {
			u.Texts[key+".pending"], u.Texts[key+".rejected"] = d.Outbox.Pending.Text(), d.Outbox.Rejected.Text()
			u.Texts[key+".relay"] = v.say(d.Outbox.Relay.Text)
			u.States[key+".relay"] = relayClass(&d.Outbox.Relay)
			u.Texts[key+".standby"] = v.say(d.Outbox.Relay.StandbyText())
			for _, x := range v.shown(d.Outbox) {
				row := key + "." + laneKey(x)
				u.Texts[row+".pending"], u.Texts[row+".rejected"] = x.Pending.Text(), x.Rejected.Text()
				u.Texts[row+".flight"] = flightText(x)
				u.Texts[row+".latency"] = latencyText(x)
				u.Texts[row+".age"] = v.age(x)
				u.Texts[row+".why"] = v.why(x)
				u.Texts[row+".state"] = v.t(string(x.State))
				u.Texts[row+".act"] = v.act(x)
				if d.Outbox.Relay.Here {
					u.flow(v, row, store.Producer, d.Flow(x))
				}
				u.States[row] = string(x.State)
			}
		}
		for k := range d.TakenShown() {
			x := &d.Taken[k]
			row := key + "." + takenKey(x)
			for name, n := range map[string]int64{"handled": x.Handled, "duplicates": x.Duplicates, "superseded": x.Superseded, "failed": x.Failed, "rejected": x.Rejected} {
				u.Texts[row+"."+name] = survey.Count{N: n}.Text()
			}
			u.flow(v, row, store.Consumer, d.Handling(x))
		}
		for k := range d.Rates {
			r := &d.Rates[k]
			u.Texts[key+"."+r.Name] = rateText(r.Now())
			u.Sparks[key+"."+r.Name] = sparkline(r.Points)
		}
	}
	return u
}

// flow adds how much moves at one destination.
func (u *update) flow(v *view, row string, side store.Side, f *flow) {
	u.Texts[row+".flow"] = v.flowText(side, f)
	for k, line := range flowLines(f) {
		u.Sparks[row+"."+strconv.Itoa(k)] = line
	}
}

// relayClass is the class of the paragraph that says which relay leads.
func relayClass(r *survey.Relay) string {
	if r.Leading {
		return "relay"
	}
	return "relay bad"
}

// since leaves out what was told before.
func (u *update) since(before *update) *update {
	return &update{Texts: news(u.Texts, before.Texts), Sparks: news(u.Sparks, before.Sparks), States: news(u.States, before.States), Shape: u.Shape}
}

func news(now, before map[string]string) map[string]string {
	some := map[string]string{}
	for key, text := range now {
		if old, known := before[key]; !known || old != text {
			some[key] = text
		}
	}
	return some
}

// shapeOf tells two lists apart.
func shapeOf(o *overview) string {
	var b strings.Builder
	for i := range o.Databases {
		if o.Databases[i].Counting {
			return "counting"
		}
		if outbox := o.Databases[i].Outbox; outbox != nil {
			fmt.Fprint(&b, len(outbox.Destinations), outbox.Relay.Here, " ")
		} else {
			b.WriteString("- ")
		}
		for _, p := range o.Databases[i].Pauses {
			fmt.Fprint(&b, p.Since.UnixMicro(), " ")
		}
	}
	return strings.TrimSpace(b.String())
}

// events sends updates of the overview, as server-sent events, until the reader goes.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	who := watcherOf(r)
	switch own, ok := c.live.watch(who); {
	case own:
		c.refuse(w, r, http.StatusTooManyRequests, "Ten pages of yours are kept up to date already. Close one, or load this page again to see what is new.")
		return
	case !ok:
		c.refuse(w, r, http.StatusServiceUnavailable, "Too many pages are kept up to date now. Load the page again to see what is new.")
		return
	}
	defer c.live.unwatch(who)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that would hold events back
	w.WriteHeader(http.StatusOK)
	v := c.view(w, r)
	told := &update{}
	for {
		state, next, err := c.live.look(r.Context())
		if err != nil {
			return
		}
		now := v.updateOf(state)
		text, err := json.Marshal(now.since(told))
		told = now
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(readerTime)) // where the server can
		if _, err := fmt.Fprintf(w, "event: overview\ndata: %s\n\n", text); err != nil || out.Flush() != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Time{}) // else HTTP/2 ends what is silent for that long
		select {
		case <-next:
		case <-c.live.ended:
			return
		case <-r.Context().Done():
			return
		}
		if c.access.user(r).Role < ReadOnly {
			return // logged out
		}
	}
}

// watcherOf says who is kept up to date: a user, or where several may have the name, as with a
// token, those of one address.
func watcherOf(r *http.Request) string {
	switch name := userOf(r).Name; name {
	case localName, operatorName, readerName:
	default:
		return "user " + name
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "address " + host
}

// watch counts those who are kept up to date; not ok says that there are too many, and own
// that they are who's.
func (l *live) watch(who string) (own, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := 0
	for _, n := range l.watching {
		all += n
	}
	switch {
	case l.watching[who] >= watchersOne:
		return true, false
	case all >= watchers, l.closed:
		return false, false
	}
	l.watching[who]++
	l.looked = time.Now()
	return false, true
}

// unwatch undoes a watch.
func (l *live) unwatch(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watching[who]--; l.watching[who] == 0 {
		delete(l.watching, who)
	}
	l.looked = time.Now()
}
