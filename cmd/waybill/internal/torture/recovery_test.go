package torture

import (
	"testing"
	"time"
)

func TestWhatATopicsConsumersLackIsCounted(t *testing.T) {
	r := newEndedRun(t)
	r.sound() // has two states of public-01
	for _, x := range []struct {
		name   string
		commit int64 // versions of public-01 that are committed besides
		audits []int64
		takes  int64 // 0 for none
		audit  int64
		mirror int64
	}{
		{"nothing", 0, nil, 0, 0, 0},
		{"three states", 3, nil, 0, 3, 3},
		{"what came before", 0, []int64{3, 5}, 0, 1, 3},
		{"what is superseded", 0, nil, 5, 1, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			r.t = t
			for version := range x.commit {
				r.state("public-01", 3+version, "b")
			}
			for _, version := range x.audits {
				r.audits("public-01", version, "b")
			}
			if x.takes > 0 {
				r.takes("public-01", x.takes, "b")
			}
			want, err := r.publicStates(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for group, lacks := range map[string]int64{auditGroup: x.audit, mirrorGroup: x.mirror} {
				if n, err := r.lacking(t.Context(), group, want); n != lacks || err != nil {
					t.Errorf("the %s lacks %d states (%v), want %d", group, n, err, lacks)
				}
			}
		})
	}
}

func TestAMessageWhoseTimeHasNotComeIsNotStuck(t *testing.T) {
	r := newEndedRun(t)
	for _, x := range []struct {
		name string
		due  time.Duration // from now
		want bool
	}{
		{"a pending message", -time.Hour, false},
		{"a delayed message", time.Hour, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			r.t = t
			r.producer(`INSERT INTO {qmessage} (destination, message_content, not_before) VALUES ('x', x'00', ?)`, time.Now().Add(x.due).UnixMicro())
			if got, err := r.isDelayed(t.Context()); got != x.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, x.want)
			}
		})
	}
}

func TestAConsumerIsAwayWhereThereIsATopic(t *testing.T) {
	for _, x := range []struct {
		name       string
		seed       uint64
		named      bool
		reason     bool
		throughout bool
	}{
		{"an odd seed", 1, false, false, false},
		{"an odd seed of the other kind", 3, false, false, true},
		{"an even seed", 4, false, true, false},
		{"an even seed, and the fault is named", 4, true, false, false},
		{"an even seed of the other kind, and the fault is named", 2, true, false, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := &run{o: Options{Seed: x.seed}, named: x.named, chosen: selection{"absent": true}, missing: map[string]string{}}
			if reason := r.impossible("absent"); (reason != "") != x.reason {
				t.Fatalf("got the reason %q, want one: %v", reason, x.reason)
			} else if reason != "" {
				r.missing["absent"] = reason
			}
			for _, group := range topicGroups {
				r.consumers = append(r.consumers, &process{Name: group})
			}
			r.chooseAbsent()
			if got := r.absent != nil; got != x.throughout {
				t.Errorf("away throughout: %v, want %v", got, x.throughout)
			}
		})
	}
}

func TestTheJudgeWaitsUntilTheBrokerDeliversAgain(t *testing.T) {
	for addr, want := range map[string]time.Duration{
		"nats://host": 30 * time.Second, "kafka://host": 15 * time.Second, "stomp://host": 0,
	} {
		r := &run{brokerAddr: addr, o: Options{Patience: time.Second}}
		if err := r.readRedelivery(); err != nil {
			t.Fatal(err)
		}
		if r.redelivery != want || r.patience() != time.Second+2*want {
			t.Errorf("%s: got %v after which it delivers again, and a patience of %v; want %v", addr, r.redelivery, r.patience(), want)
		}
	}
}
