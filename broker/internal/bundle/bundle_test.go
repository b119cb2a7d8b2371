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
		t.Error("Forget of a connection: want true once, and then false")
	}
	if err := b.Err(); err != nil {
		t.Errorf("Err before the end: %v; want nil", err)
	}
	why := errors.New("why")
	left := b.End(why)
	slices.Sort(left)
	if !slices.Equal(left, []int{0, 2}) || b.Forget(0) {
		t.Errorf("End returned %v, want 0 and 2", left)
	}
	<-b.Done()
	if left := b.End(errors.New("other")); left != nil {
		t.Errorf("End returned %v the second time, want none", left)
	}
	b.Close(func(c int) { t.Errorf("Close after the end closed %d, want none", c) })
	if err := b.Add(4, func() { started++ }); !errors.Is(err, why) || !errors.Is(b.Err(), why) || started != 3 {
		t.Errorf("Add after the end: %v; Err: %v; %d started; want the reason, twice, and 3", err, b.Err(), started)
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
	b.Close(func(int) {
		mu.Lock()
		defer mu.Unlock()
		closed++
	})
	if closed != 3 || !errors.Is(b.Err(), broker.ErrClosed) {
		t.Errorf("%d connections closed, Err: %v; want 3, ErrClosed", closed, b.Err())
	}
}
