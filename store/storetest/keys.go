package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

const (
	idleKey   = 48 * time.Hour
	idleState = 30 * 24 * time.Hour
)

var keyCases = []testCase{
	{name: "idle keys go, and those that return continue above all that were forgotten", run: func(s *suite) {
		var rows []store.NewRow
		for _, key := range []string{"a", "a", "a", "b", `k"\'`} {
			rows = append(rows, row("o", key, ""))
		}
		topic := row("o", "t", "")
		topic.Topic = true
		s.send(append(rows, row("o", "young", ""), topic, row("p", "p", ""))...)
		_, err := s.queue.Delete(s.Context(), field(s.all(), messageID))
		s.must(err)
		s.age("young")
		if gone := s.forgetKeys(); gone != 5 {
			s.Errorf("got %d keys forgotten, want the 5 that are idle", gone)
		}
		if gone := s.forgetKeys(); gone != 0 {
			s.Errorf("got %d keys forgotten the second time, want none", gone)
		}
		last := s.clock()
		// One alone, by plain SQL, several of a statement, and a new one; each above 3.
		s.send(row("o", "a", ""))
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'b', 'x')`))
		s.send(row("o", `k"\'`, ""), row("o", `k"\'`, ""), row("o", "young", ""), row("o", "new", ""))
		topic.ID = waybill.NewID()
		s.send(topic, row("q", "a", ""))
		want := map[string][]int64{"o a": {4}, "o b": {4}, `o k"\'`: {4, 5}, "o young": {2}, "o new": {4}, "o t": {2}, "q a": {1}}
		got := map[string][]int64{}
		for _, r := range s.all() {
			at := r.Destination + " " + r.Key
			got[at] = append(got[at], r.Sequence)
			if r.TimeStamp < last {
				s.Errorf("%s: got the time stamp %d, want one from %d", at, r.TimeStamp, last)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("got the sequences %v, want %v", got, want)
		}
	}},
	{name: "a key that returns has a time stamp above what was forgotten, also where that is ahead of the clock", run: func(s *suite) {
		s.send(row("o", "a", ""), row("o", "b", ""), row("o", "c", ""))
		_, err := s.queue.Delete(s.Context(), field(s.all(), messageID))
		s.must(err)
		s.age("")
		s.forgetKeys()
		ahead := s.clock() + time.Hour.Microseconds()
		s.must(s.exec(s.db, `UPDATE {qmessage_key} SET time_stamp = ? WHERE destination = '' AND business_mark = 'o'`, ahead))
		s.send(row("o", "a", ""))
		s.must(s.exec(s.db, `INSERT INTO {qmessage} (destination, business_mark, message_content) VALUES ('o', 'b', 'x')`))
		s.send(row("o", "c", ""), row("o", "c", ""))
		own := row("o", "own", "")
		own.TimeStamp = 7
		s.send(own)
		var stamps []int64
		for _, r := range s.all() {
			stamps = append(stamps, r.TimeStamp-ahead)
		}
		if want := []int64{1, 1, 1, 2, 7 - ahead}; fmt.Sprint(stamps) != fmt.Sprint(want) {
			s.Errorf("got the time stamps %v from what was forgotten, want %v", stamps, want)
		}
		s.send(row("o", "own", ""))
		if r := s.all()[5]; r.TimeStamp <= ahead {
			s.Errorf("got the time stamp %d behind a version, want one above %d", r.TimeStamp, ahead)
		}
	}},
	{name: "keys with messages, and keys of versions, stay", run: func(s *suite) {
		waiting, rejected, version := row("o", "waiting", ""), row("o", "rejected", ""), row("o", "version", "")
		version.TimeStamp = 12
		s.send(waiting, rejected, row("o", "gone", ""))
		s.send(version)
		_, err := s.queue.Reject(s.Context(), rejected.ID, "no")
		s.must(err)
		for _, r := range s.all() {
			if r.Key == "gone" || r.Key == "version" {
				_, err = s.queue.Delete(s.Context(), []waybill.ID{r.MessageID})
				s.must(err)
			}
		}
		s.must(s.exec(s.db, `UPDATE {qmessage_key} SET time_stamp = time_stamp - ? WHERE business_mark <> 'version'`, (72 * time.Hour).Microseconds()))
		s.must(s.exec(s.db, `UPDATE {qmessage} SET time_stamp = time_stamp - ?`, (72 * time.Hour).Microseconds()))
		if gone := s.forgetKeys(); gone != 1 {
			s.Errorf("got %d keys forgotten, want 1", gone)
		}
	}},
	{name: "forgetting keys refuses what is not idle for long", run: func(s *suite) {
		if _, err := s.queue.IdleKeys(s.Context(), time.Hour, 10); err == nil {
			s.Error("got no error of counting keys that are idle for an hour, want one")
		}
		if _, err := s.queue.ForgetKeys(s.Context(), time.Hour, 10); err == nil {
			s.Error("got no error of keys that are idle for an hour, want one")
		}
		if _, err := s.ledger.ForgetKeys(s.Context(), time.Now(), time.Hour, 10); err == nil {
			s.Error("got no error of states that are idle for an hour, want one")
		}
	}},
	{name: "a transaction that is open while keys are forgotten goes on above them", run: func(s *suite) {
		s.needsWriters("whatever writes waits for a transaction that writes")
		for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
			s.sub(level.String(), func(s *suite) {
				key := level.String()
				s.send(row("o", key, ""), row("o", key, ""), row("o", key, ""))
				last := s.all()[2].Sequence
				_, err := s.queue.Delete(s.Context(), field(s.all(), messageID))
				s.must(err)
				s.age("")
				tx, err := s.db.BeginTx(s.Context(), &sql.TxOptions{Isolation: level})
				s.must(err)
				defer tx.Rollback()
				var n int
				s.must(tx.QueryRowContext(s.Context(), s.names.SQL(`SELECT count(*) FROM {qmessage_key}`)).Scan(&n))
				forgotten := make(chan error, 1)
				go func() {
					_, err := s.queue.ForgetKeys(context.WithoutCancel(s.Context()), idleKey, 10)
					forgotten <- err
				}()
				if s.dialect.OpenTransactions().SQL == "" {
					s.must(<-forgotten)
				}
				message := row("o", key, "")
				err = s.insert(tx, message)
				if err == nil {
					err = tx.Commit()
				}
				_ = tx.Rollback() // does nothing after a commit
				if err != nil && s.queue.Condition(err) != store.Conflict {
					s.Error(err)
				}
				if s.dialect.OpenTransactions().SQL != "" {
					s.must(<-forgotten)
				}
				s.send(row("o", key, ""))
				for _, r := range s.all() {
					if r.Sequence <= last {
						s.Errorf("got the sequence %d, want one above %d", r.Sequence, last)
					}
					last = r.Sequence
				}
				_, err = s.queue.Delete(s.Context(), field(s.all(), messageID))
				s.must(err)
			})
		}
	}},
	{name: "senders that race with forgetting never go back", run: func(s *suite) {
		const keys, rounds = 3, 12
		done, failed := make(chan struct{}), make(chan error, 1)
		go func() {
			var err error
			for err == nil || s.queue.Condition(err) == store.Conflict {
				select {
				case <-done:
					failed <- nil
					return
				default:
				}
				// The keys are made to look idle again and again.
				err = s.exec(s.db, `UPDATE {qmessage_key} SET time_stamp = time_stamp - ? WHERE destination = 'o' AND time_stamp > ?`,
					(72 * time.Hour).Microseconds(), time.Now().Add(-time.Hour).UnixMicro())
				if err == nil {
					_, err = s.queue.ForgetKeys(s.Context(), idleKey, 10)
				}
			}
			failed <- err
		}()
		err := concurrently(s.workers(), func(worker int) error {
			for i := range rounds {
				key := fmt.Sprint("key ", (worker+i)%keys)
				err := s.inTxRetried(func(tx *sql.Tx) error { return s.insert(tx, row("o", key, "")) })
				if err != nil {
					return err
				}
			}
			return nil
		})
		close(done)
		s.must(errors.Join(err, <-failed))
		last := map[string]int64{}
		for _, r := range s.all() {
			if r.Sequence <= last[r.Key] {
				s.Errorf("%s: got the sequence %d behind %d, want one above it", r.Key, r.Sequence, last[r.Key])
			}
			last[r.Key] = r.Sequence
		}
	}},
	{name: "of forgotten states nothing older takes effect, and what is newer does", run: func(s *suite) {
		now := time.Now()
		old := now.Add(-40 * 24 * time.Hour).UnixMicro()
		at := func(key string, stamp int64) store.Mark {
			m := mark("p", key, stamp)
			m.ID = waybill.NewIDAt(now.Add(-40 * 24 * time.Hour))
			return m
		}
		topic, elsewhere, version, versioned := at("a", old), at("a", old), at("a", 3), at("b", old)
		topic.Topic, elsewhere.Destination, version.Destination, versioned.Destination = true, "prices", "versions", "versions"
		waiting := at("waiting", old+5)
		waiting.Producer = "waits"
		s.wantVerdicts(s.latest(at("a", old), at("b", old+9), at("young", now.UnixMicro()), waiting, topic, elsewhere, version, versioned),
			store.Fresh, store.Fresh, store.Fresh, store.Fresh, store.Fresh, store.Fresh, store.Fresh, store.Fresh)
		if gone := s.forgetStates(now); gone != 0 {
			s.Errorf("got %d states forgotten before their producer has told a floor, want none", gone)
		}
		s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.LowestID(now)))
		_, err := s.ledger.Prune(s.Context(), now, 24*time.Hour, 100)
		s.must(err)
		if gone := s.forgetStates(now); gone != 4 {
			s.Errorf("got %d states forgotten, want 4: those that are idle, below the horizon and of no destination with versions", gone)
		}
		for range 2 {
			for i, c := range []struct {
				m    store.Mark
				want store.Verdict
			}{
				{at("a", old), store.Forgotten}, {at("a", old-1), store.Forgotten}, {at("b", old+9), store.Forgotten},
				{at("new", old+9), store.Forgotten}, {at("waiting", old+4), store.Superseded}, {version, store.Duplicate},
				{at("young", old), store.Superseded},
			} {
				verdicts, err := s.guardIn(false, func(tx store.Session) ([]store.Verdict, error) {
					return s.ledger.RecordLatest(s.Context(), tx, []store.Mark{c.m})
				})
				s.must(err)
				if verdicts[0] != c.want {
					s.Errorf("mark %d: got %v, want %v", i, verdicts[0], c.want)
				}
			}
			_, err = s.ledger.Clock(s.Context()) // the second time the ledger knows what is young
			s.must(err)
		}
		topic.TimeStamp++
		s.wantVerdicts(s.latest(at("a", old+10), at("new", now.UnixMicro()), topic), store.Fresh, store.Fresh, store.Fresh)
		other := s.as("billing")
		s.wantVerdicts(other.latest(at("a", old)), store.Fresh)
	}},
}

// age makes all keys but one look idle for three days.
func (s *suite) age(but string) {
	s.Helper()
	s.must(s.exec(s.db, `UPDATE {qmessage_key} SET time_stamp = time_stamp - ? WHERE destination <> '' AND business_mark <> ?`,
		(72 * time.Hour).Microseconds(), but))
}

func (s *suite) forgetKeys() int64 {
	s.Helper()
	idle, err := s.queue.IdleKeys(s.Context(), idleKey, 3)
	s.must(err)
	gone, err := s.queue.ForgetKeys(s.Context(), idleKey, 2)
	s.must(err)
	if idle != gone {
		s.Errorf("got %d idle keys counted and %d forgotten, want as many", idle, gone)
	}
	return gone
}

func (s *suite) forgetStates(now time.Time) int64 {
	s.Helper()
	gone, err := s.ledger.ForgetKeys(s.Context(), now, idleState, 2)
	s.must(err)
	return gone
}
