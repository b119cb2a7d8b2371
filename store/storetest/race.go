package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/store"
)

// raceCases run guards against each other, with the handler's own writes in the same
// transactions, and judge by what those left.
var raceCases = []testCase{
	{name: "of many who guard the same messages at once each message is fresh for one", run: raceOnce},
	{name: "of many states of one key that race the newest stays", run: func(s *suite) { raceLatest(s, 1, 60) }},
	{name: "of many states of many keys that race in batches the newest stay", run: func(s *suite) { raceLatest(s, 10, 20) }},
	{name: "two states of a new key that race leave the newer one", run: func(s *suite) {
		for round := range 20 {
			key := fmt.Sprint("key ", round)
			states := []store.Mark{mark("p", key, 1), mark("q", key, 2)}
			s.must(together(2, func(i int) error {
				_, err := s.retried(rand.New(rand.NewPCG(uint64(round), uint64(i))), 0, func(tx *sql.Tx) ([]store.Verdict, error) {
					return s.ledger.RecordLatest(s.Context(), tx, states[i:i+1])
				})
				return err
			}))
			s.wantVerdicts(s.latest(states[1]), store.Duplicate)
		}
	}},
	{name: "what is pruned is never fresh again, whatever the timing", run: racePrune},
}

// retried runs a guard in a transaction that commits, or rolls back with the given
// chance and is run again, as after any conflict; it returns the committed verdicts.
func (s *suite) retried(random *rand.Rand, undo float64, guard func(tx *sql.Tx) ([]store.Verdict, error)) ([]store.Verdict, error) {
	for {
		tx, err := s.ledger.Begin(s.Context())
		if err != nil {
			if s.ledger.Condition(err) == store.Conflict {
				continue
			}
			return nil, err
		}
		verdicts, err := guard(tx)
		if err == nil && random.Float64() < undo {
			err = errUndo
		}
		if err == nil {
			err = tx.Commit()
		}
		if err == nil {
			return verdicts, nil
		}
		_ = tx.Rollback()
		if !errors.Is(err, errUndo) && s.ledger.Condition(err) != store.Conflict {
			return nil, err
		}
	}
}

func raceOnce(s *suite) {
	const batch, rounds = 20, 10
	s.must(s.exec(s.db, `CREATE TABLE effect (worker integer, message_id varchar(36))`))
	marks := make([]store.Mark, batch*rounds)
	for i := range marks {
		marks[i] = mark("p", "", 1)
	}
	s.must(together(s.workers(), func(worker int) error {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		for round := range rounds {
			// Every worker has the same messages, in another order.
			part := slices.Clone(marks[round*batch : (round+1)*batch])
			random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
			_, err := s.retried(random, 0.3, func(tx *sql.Tx) ([]store.Verdict, error) {
				verdicts, err := s.ledger.RecordOnce(s.Context(), tx, part)
				if err != nil {
					return nil, err
				}
				for i, v := range verdicts {
					if v != store.Fresh {
						continue
					}
					if err := s.exec(tx, `INSERT INTO effect (worker, message_id) VALUES (?, ?)`, worker, part[i].ID.String()); err != nil {
						return nil, err
					}
				}
				return verdicts, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	effects := s.texts(`SELECT message_id FROM effect`)
	want := field(marks, func(m store.Mark) string { return m.ID.String() })
	slices.Sort(effects)
	slices.Sort(want)
	if !slices.Equal(effects, want) {
		s.Errorf("%d effects of %d messages, or not one of each", len(effects), len(want))
	}
}

// raceLatest races versions 1..versions of a number of keys, shuffled, in batches of
// one message a key. The handler's table is updated blindly, as handlers do, so any
// state that goes backwards stays visible there.
func raceLatest(s *suite, keys, versions int) {
	s.must(s.exec(s.db, `CREATE TABLE state (name varchar(50) PRIMARY KEY, version bigint, message_id varchar(36))`))
	type applied struct {
		key     string
		version int64
	}
	var mu sync.Mutex
	var log []applied
	newest := map[string]store.Mark{}
	work := make(chan []store.Mark, versions)
	for _, version := range rand.Perm(versions) {
		batch := make([]store.Mark, 0, keys)
		for _, key := range rand.Perm(keys) {
			// Two messages in three have a time stamp of their own; else the id decides.
			m := mark("p", fmt.Sprint("key ", key), int64(version-version%3)+1)
			batch = append(batch, m)
			if n, ok := newest[m.Key]; !ok || m.TimeStamp > n.TimeStamp || m.TimeStamp == n.TimeStamp && m.ID.Compare(n.ID) > 0 {
				newest[m.Key] = m
			}
		}
		work <- batch
	}
	close(work)
	s.must(together(s.workers(), func(worker int) error {
		random := rand.New(rand.NewPCG(2, uint64(worker)))
		for batch := range work {
			// Some copies come twice.
			for range 1 + random.IntN(2) {
				_, err := s.retried(random, 0.2, func(tx *sql.Tx) ([]store.Verdict, error) {
					verdicts, err := s.ledger.RecordLatest(s.Context(), tx, batch)
					if err != nil {
						return nil, err
					}
					var fresh []applied
					for i, v := range verdicts {
						if v != store.Fresh {
							continue
						}
						m := batch[i]
						fresh = append(fresh, applied{m.Key, m.TimeStamp})
						if err := s.exec(tx, `DELETE FROM state WHERE name = ?`, m.Key); err != nil {
							return nil, err
						}
						if err := s.exec(tx, `INSERT INTO state (name, version, message_id) VALUES (?, ?, ?)`, m.Key, m.TimeStamp, m.ID.String()); err != nil {
							return nil, err
						}
					}
					mu.Lock()
					defer mu.Unlock()
					log = append(log, fresh...)
					return verdicts, nil
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	}))
	for key, m := range newest {
		got := s.texts(`SELECT message_id FROM state WHERE name = '` + key + `'`)
		if !slices.Equal(got, []string{m.ID.String()}) {
			s.Errorf("%s: the state is of message %s, want the newest, %s", key, got, m.ID)
		}
		s.wantVerdicts(s.latest(m), store.Duplicate)
	}
	if len(newest) != keys {
		s.Fatalf("%d keys, want %d", len(newest), keys)
	}
	if len(log) < keys {
		s.Errorf("%d messages were applied to %d keys", len(log), keys)
	}
}

func racePrune(s *suite) {
	const messages, rounds = 120, 6
	now := time.Now()
	s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
	for round := range rounds {
		var marks []store.Mark
		for i := range messages {
			m := mark("p", fmt.Sprint("key ", round, " ", i), 10)
			m.ID = waybill.NewIDAt(now.Add(-time.Hour).Add(time.Duration(round*messages+i) * time.Second))
			marks = append(marks, m)
		}
		s.once(marks...)
		// The horizon moves over these messages while their copies come again.
		edge := now.Add(-time.Hour).Add(time.Duration((round+1)*messages) * time.Second)
		s.must(together(s.workers(), func(worker int) error {
			if worker == 0 {
				for {
					_, err := s.ledger.Prune(s.Context(), edge, 0, 7)
					if err == nil || s.ledger.Condition(err) != store.Conflict {
						return err
					}
				}
			}
			random := rand.New(rand.NewPCG(3, uint64(worker)))
			for range 10 {
				at := random.IntN(messages - 10)
				part := marks[at : at+10]
				verdicts, err := s.looked(func(tx *sql.Tx) ([]store.Verdict, error) { return s.ledger.RecordOnce(s.Context(), tx, part) })
				if err != nil {
					return err
				}
				for i, v := range verdicts {
					if v == store.Fresh {
						return fmt.Errorf("a copy of message %s, which took effect before, is %s", part[i].ID, verdictNames[v])
					}
				}
			}
			return nil
		}))
	}
	if left := s.texts(`SELECT message_id FROM ` + s.names.Once); len(left) != 0 {
		s.Errorf("%d records are left below the horizon", len(left))
	}
}

// looked runs a guard in a transaction that rolls back, as the inbox does with what
// is Forgotten, and returns what it said.
func (s *suite) looked(guard func(tx *sql.Tx) ([]store.Verdict, error)) ([]store.Verdict, error) {
	for {
		tx, err := s.ledger.Begin(s.Context())
		var verdicts []store.Verdict
		if err == nil {
			verdicts, err = guard(tx)
			_ = tx.Rollback()
		}
		if err == nil || s.ledger.Condition(err) != store.Conflict {
			return verdicts, err
		}
	}
}

// texts reads the first column of all rows.
func (s *suite) texts(text string) []string {
	s.Helper()
	rows, err := s.db.QueryContext(s.Context(), text)
	s.must(err)
	defer rows.Close()
	var found []string
	for rows.Next() {
		var id waybill.ID
		s.must(rows.Scan(&id))
		found = append(found, id.String())
	}
	s.must(rows.Err())
	return found
}
