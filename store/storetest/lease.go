package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/waybill-go/waybill/store"
)

var leaseCases = []testCase{
	{name: "there is no lease before the first one is taken", run: func(s *suite) {
		lease, err := s.queue.Lease(s.Context(), "relay")
		s.must(err)
		if lease != (store.Lease{}) {
			s.Errorf("got the lease %+v, want none", lease)
		}
	}},
	{name: "one holder keeps the lease until it gives it back, and hands its cursor on", run: func(s *suite) {
		s.wantHolder(s.acquire("relay", "a", time.Minute), "a", 0)
		s.wantHolder(s.acquire("relay", "b", time.Minute), "a", 0)
		held, err := s.queue.RenewLease(s.Context(), "relay", "a", time.Minute, 42)
		s.must(err)
		if !held {
			s.Error("got the lease lost, want its holder to renew it")
		}
		held, err = s.queue.RenewLease(s.Context(), "relay", "b", time.Minute, 7)
		s.must(err)
		if held {
			s.Error("got the lease renewed by another one, want it refused")
		}
		s.must(s.queue.ReleaseLease(s.Context(), "relay", "b", 8))
		s.wantHolder(s.acquire("relay", "b", time.Minute), "a", 42)
		s.must(s.queue.ReleaseLease(s.Context(), "relay", "a", 43))
		lease, err := s.queue.Lease(s.Context(), "relay")
		s.must(err)
		if lease.Holder != "" || lease.Left > 0 || lease.Left < -time.Hour.Microseconds() || lease.Cursor != 43 || !lease.Present {
			s.Errorf("got the lease %+v after it was given back, want it free since just now, with the holder's cursor", lease)
		}
		s.wantHolder(s.acquire("relay", "b", time.Minute), "b", 43)
		held, err = s.queue.RenewLease(s.Context(), "relay", "a", time.Minute, 99)
		s.must(err)
		if held {
			s.Error("got the lease renewed by its former holder, want it refused")
		}
		s.wantHolder(s.acquire("relay", "b", time.Minute), "b", 43)
	}},
	{name: "a lease whose time is up goes to the next one, by the database's clock", run: func(s *suite) {
		if lease := s.acquire("relay", "a", 0); lease.Left > 0 {
			s.Errorf("got %d µs left of a lease of no time, want none", lease.Left)
		}
		s.wantHolder(s.acquire("relay", "b", time.Minute), "b", 0)
		held, err := s.queue.RenewLease(s.Context(), "relay", "b", -time.Second, 5)
		s.must(err)
		if held {
			s.Error("got a lease held that has ended, want it lost")
		}
		s.wantHolder(s.acquire("relay", "a", time.Minute), "a", 5)
	}},
	{name: "the holder extends its own lease by taking it again", run: func(s *suite) {
		s.acquire("relay", "a", time.Minute)
		lease := s.acquire("relay", "a", time.Hour)
		s.wantHolder(lease, "a", 0)
		if left := time.Duration(lease.Left) * time.Microsecond; left < 50*time.Minute || left > time.Hour {
			s.Errorf("got %v left, want about an hour", left)
		}
	}},
	{name: "relays that stand by are told of as long as they say so", run: func(s *suite) {
		want := func(holders ...string) {
			s.Helper()
			got, err := s.queue.Standbys(s.Context())
			s.must(err)
			if !slices.Equal(got, holders) {
				s.Errorf("got %q standing by, want %q", got, holders)
			}
		}
		want()
		s.must(s.queue.NoteStandby(s.Context(), "a", time.Minute))
		s.must(s.queue.NoteStandby(s.Context(), "b", time.Hour))
		s.must(s.queue.NoteStandby(s.Context(), "a", time.Hour))
		want("a", "b")
		s.must(s.queue.NoteStandby(s.Context(), "a", -time.Second)) // its time is over
		want("b")
		s.must(s.queue.NoteStandby(s.Context(), "b", time.Hour)) // in the place of a, and in its own
		want("b")
		for i := range 20 {
			s.must(s.queue.NoteStandby(s.Context(), fmt.Sprint("c", i), time.Hour))
		}
		if got, err := s.queue.Standbys(s.Context()); err != nil || len(got) != 7 { // b has two places
			s.Errorf("got %q, %v standing by, want seven", got, err)
		}
		s.wantHolder(s.acquire("relay", "leader", time.Minute), "leader", 0)
	}},
	{name: "leases of other names are other leases", run: func(s *suite) {
		s.wantHolder(s.acquire("one", "a", time.Minute), "a", 0)
		s.wantHolder(s.acquire("two", "b", time.Minute), "b", 0)
		s.wantHolder(s.acquire("Two", "c", time.Minute), "c", 0)
	}},
	{name: "of many who want a lease one gets it", run: func(s *suite) {
		for round := range 10 {
			name := fmt.Sprint("relay", round%2)
			if round > 1 {
				// After the first two rounds it is about a lease that has ended.
				lease, err := s.queue.Lease(s.Context(), name)
				s.must(err)
				_, err = s.queue.RenewLease(s.Context(), name, lease.Holder, -time.Second, 0)
				s.must(err)
			}
			winners := make(chan string, s.workers())
			s.must(concurrently(s.workers(), func(i int) error {
				holder := fmt.Sprint(round, "/", i)
				for {
					lease, err := s.queue.AcquireLease(s.Context(), name, holder, time.Hour)
					if err != nil && s.queue.Condition(err) == store.Conflict {
						continue
					}
					if lease.Holder == holder {
						winners <- holder
					}
					return err
				}
			}))
			if len(winners) != 1 {
				s.Fatalf("round %d: got %d holders, want 1", round, len(winners))
			}
		}
	}},
}

func (s *suite) acquire(name, holder string, ttl time.Duration) store.Lease {
	s.Helper()
	lease, err := s.queue.AcquireLease(s.Context(), name, holder, ttl)
	s.must(err)
	return lease
}

func (s *suite) wantHolder(lease store.Lease, holder string, cursor int64) {
	s.Helper()
	if lease.Holder != holder || lease.Left <= 0 || lease.Cursor != cursor || !lease.Present {
		s.Errorf("got the lease %+v, want it held by %q with the cursor %d", lease, holder, cursor)
	}
}
