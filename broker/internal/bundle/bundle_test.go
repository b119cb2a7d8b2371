package bundle_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/bundle"
)

func TestABundleEndsOnceAndTakesNothingAfter(t *testing.T) {
	b := bundle.New[int]()
	started := 0
	for c := range 3 {
		if err := b.Add(c, func() { started++ }); err != nil {
			t.Fatal(err)
		}
	}
	if !b.Forget(1) || b.Forget(1) {
		t.Error("a connection is forgotten once")
	}
	if err := b.Err(); err != nil {
		t.Errorf("Err before the end: %v", err)
	}
	why := errors.New("why")
	left := b.End(why)
	slices.Sort(left)
	if !slices.Equal(left, []int{0, 2}) || b.Forget(0) {
		t.Errorf("it ended with %v, want 0 and 2", left)
	}
	<-b.Done()
	if left := b.End(errors.New("other")); left != nil {
		t.Errorf("it ended again with %v", left)
	}
	b.Close(func(c int) { t.Errorf("%d was closed after the end", c) })
	if err := b.Add(4, func() { started++ }); !errors.Is(err, why) || !errors.Is(b.Err(), why) || started != 3 {
		t.Errorf("Add after the end: %v; Err: %v; %d started", err, b.Err(), started)
	}
}

func TestCloseEndsEveryConnection(t *testing.T) {
	b := bundle.New[int]()
	for c := range 3 {
		if err := b.Add(c, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	closed := 0
	b.Close(func(int) { mu.Lock(); closed++; mu.Unlock() })
	if closed != 3 || !errors.Is(b.Err(), broker.ErrClosed) {
		t.Errorf("%d connections closed, Err: %v", closed, b.Err())
	}
}
