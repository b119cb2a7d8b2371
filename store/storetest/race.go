package storetest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
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
			s.must(concurrently(2, func(i int) error {
				_, err := s.guardIn(true, func(tx *sql.Tx) ([]store.Verdict, error) {
					return s.ledger.RecordLatest(s.Context(), tx, states[i:i+1])
				})
				return err
			}))
			s.wantVerdicts(s.latest(states[1]), store.Duplicate)
		}
	}},
	{name: "what is pruned is never fresh again, whatever the timing", run: racePrune},
}

// guardAtLast runs a guard in transactions that roll back, with the given chance, until
// one commits.
func (s *suite) guardAtLast(random *rand.Rand, undo float64, g guard) error {
	for random.Float64() < undo {
		if _, err := s.guardIn(false, g); err != nil {
			return err
		}
	}
	_, err := s.guardIn(true, g)
	return err
}

// raceOnce has every worker guard the same messages and write an effect for each that
// is fresh; in the end there is one effect of each.
func raceOnce(s *suite) {
	const batch, rounds = 20, 10
	s.must(s.exec(s.db, `CREATE TABLE effect (worker integer, message_id varchar(36))`))
	marks := make([]store.Mark, batch*rounds)
	for i := range marks {
		marks[i] = mark("p", "", 1)
	}
	s.must(concurrently(s.workers(), func(worker int) error {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		for round := range rounds {
			// Every worker has the same messages, in another order.
			part := slices.Clone(marks[round*batch : (round+1)*batch])
			random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
			err := s.guardAtLast(random, 0.3, func(tx *sql.Tx) ([]store.Verdict, error) { return s.applyOnce(tx, worker, part) })
			if err != nil {
				return err
			}
		}
		return nil
	}))
	got := s.ids(`SELECT message_id FROM effect`)
	want := field(marks, func(m store.Mark) string { return m.ID.String() })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("got %d effects of %d messages, want one of each", len(got), len(want))
	}
}

// applyOnce guards messages and writes an effect for each that is fresh.
func (s *suite) applyOnce(tx *sql.Tx, worker int, marks []store.Mark) ([]store.Verdict, error) {
	verdicts, err := s.ledger.RecordOnce(s.Context(), tx, marks)
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		if v != store.Fresh {
			continue
		}
		if err := s.exec(tx, `INSERT INTO effect (worker, message_id) VALUES (?, ?)`, worker, marks[i].ID.String()); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// raceLatest races a number of versions of each key, shuffled, in batches of one
// message a key, of which some copies come twice.
func raceLatest(s *suite, keys, versions int) {
	s.must(s.exec(s.db, `CREATE TABLE state (name varchar(50) PRIMARY KEY, version bigint, message_id varchar(36))`))
	batches := shuffledStates(keys, versions)
	work := make(chan []store.Mark, len(batches))
	for _, batch := range batches {
		work <- batch
	}
	close(work)
	s.must(concurrently(s.workers(), func(worker int) error {
		random := rand.New(rand.NewPCG(2, uint64(worker)))
		for batch := range work {
			for range 1 + random.IntN(2) {
				err := s.guardAtLast(random, 0.2, func(tx *sql.Tx) ([]store.Verdict, error) { return s.applyLatest(tx, batch) })
				if err != nil {
					return err
				}
			}
		}
		return nil
	}))
	newest := newestStates(batches)
	if len(newest) != keys {
		s.Fatalf("got %d keys, want %d", len(newest), keys)
	}
	for key, m := range newest {
		if got, want := s.ids(`SELECT message_id FROM state WHERE name = '`+key+`'`), []string{m.ID.String()}; !slices.Equal(got, want) {
			s.Errorf("%s: got the state of messages %s, want the newest one's, %s", key, got, want)
		}
		s.wantVerdicts(s.latest(m), store.Duplicate)
	}
}

// shuffledStates are the versions of all keys. Three versions of a key share each time
// stamp, so that their ids decide.
func shuffledStates(keys, versions int) (batches [][]store.Mark) {
	for _, version := range rand.Perm(versions) {
		var batch []store.Mark
		for _, key := range rand.Perm(keys) {
			batch = append(batch, mark("p", fmt.Sprint("key ", key), int64(version-version%3)+1))
		}
		batches = append(batches, batch)
	}
	return batches
}

// newestStates are the newest of each key.
func newestStates(batches [][]store.Mark) map[string]store.Mark {
	newest := map[string]store.Mark{}
	for _, m := range slices.Concat(batches...) {
		n, ok := newest[m.Key]
		if !ok || m.TimeStamp > n.TimeStamp || m.TimeStamp == n.TimeStamp && m.ID.Compare(n.ID) > 0 {
			newest[m.Key] = m
		}
	}
	return newest
}

// applyLatest guards messages and writes the state of each that is fresh. It writes
// blindly, as handlers do, so a state that goes backwards stays visible.
func (s *suite) applyLatest(tx *sql.Tx, marks []store.Mark) ([]store.Verdict, error) {
	verdicts, err := s.ledger.RecordLatest(s.Context(), tx, marks)
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		if v != store.Fresh {
			continue
		}
		m := marks[i]
		if err := s.exec(tx, `DELETE FROM state WHERE name = ?`, m.Key); err != nil {
			return nil, err
		}
		if err := s.exec(tx, `INSERT INTO state (name, version, message_id) VALUES (?, ?, ?)`, m.Key, m.TimeStamp, m.ID.String()); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// racePrune moves the horizon over messages while their copies come again.
func racePrune(s *suite) {
	const messages, rounds = 120, 6
	start := time.Now().Add(-time.Hour)
	s.must(s.ledger.SaveFloor(s.Context(), "p", waybill.ID{}))
	for round := range rounds {
		var marks []store.Mark
		for i := range messages {
			m := mark("p", fmt.Sprint("key ", round, " ", i), 10)
			m.ID = waybill.NewIDAt(start.Add(time.Duration(round*messages+i) * time.Second))
			marks = append(marks, m)
		}
		s.once(marks...)
		edge := start.Add(time.Duration((round+1)*messages) * time.Second)
		s.must(concurrently(s.workers(), func(worker int) error {
			if worker == 0 {
				return s.pruneTo(edge)
			}
			return s.guardCopies(rand.New(rand.NewPCG(3, uint64(worker))), marks)
		}))
	}
	if left := s.ids(`SELECT message_id FROM ` + s.names.Once); len(left) != 0 {
		s.Errorf("got %d records below the horizon, want none", len(left))
	}
}

// pruneTo prunes, again after each conflict, what is older than a time.
func (s *suite) pruneTo(edge time.Time) error {
	for {
		_, err := s.ledger.Prune(s.Context(), edge, 0, 7)
		if err == nil || s.ledger.Condition(err) != store.Conflict {
			return err
		}
	}
}

// guardCopies guards copies of messages that took effect, in transactions that roll
// back, as the inbox's do that find a message Forgotten.
func (s *suite) guardCopies(random *rand.Rand, marks []store.Mark) error {
	for range 10 {
		at := random.IntN(len(marks) - 10)
		copies := marks[at : at+10]
		verdicts, err := s.guardIn(false, func(tx *sql.Tx) ([]store.Verdict, error) { return s.ledger.RecordOnce(s.Context(), tx, copies) })
		if err != nil {
			return err
		}
		for i, v := range verdicts {
			if v == store.Fresh {
				return fmt.Errorf("message %s, which took effect before: got the verdict %v of a copy", copies[i].ID, v)
			}
		}
	}
	return nil
}

// ids reads the first column of all rows, message ids.
func (s *suite) ids(text string) []string {
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
