package store

import (
	"fmt"
	"slices"
	"testing"
)

// texts are rows as destination/key/headers.
func texts(rows []NewRow) []string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s/%s/%s", r.Destination, r.Key, r.Headers))
	}
	return all
}

func TestRowsAreSortedByKeyAndKeepTheirOrderWithinOne(t *testing.T) {
	rows := []NewRow{
		{Destination: "b", Key: "k", Headers: "1"}, {Destination: "z", Headers: "2"}, {Destination: "a", Key: "z", Headers: "3"},
		{Destination: "b", Key: "a", Headers: "4"}, {Destination: "a", Headers: "5"}, {Destination: "b", Key: "k", Headers: "6"},
		{Destination: "b", Key: "a", Headers: "7"},
	}
	given := texts(rows)
	want := []string{"z//2", "a//5", "a/z/3", "b/a/4", "b/a/7", "b/k/1", "b/k/6"}
	if got := texts(sortByKey(rows)); !slices.Equal(got, want) {
		t.Errorf("got the order %v, want %v", got, want)
	}
	if got := texts(rows); !slices.Equal(got, given) {
		t.Errorf("got the caller's slice changed to %v, want it left as %v", got, given)
	}
}

func TestCountFollowingCountsTheRowsOfTheSameKeyBehindEach(t *testing.T) {
	rows := []NewRow{
		{Destination: "a"}, {Destination: "a"},
		{Destination: "a", Key: "k"}, {Destination: "a", Key: "k"}, {Destination: "a", Key: "k"},
		{Destination: "b", Key: "k"},
	}
	if got, want := CountFollowing(rows), []int64{0, 0, 2, 1, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPartsAreOfOneKindAndOfBoundedSize(t *testing.T) {
	large := make([]byte, maxStatement*2/3)
	for _, c := range []struct {
		name string
		rows []NewRow
		size int
		want []int
	}{
		{"nothing", nil, 3, nil},
		{"by number", make([]NewRow, 7), 3, []int{3, 3, 1}},
		{"by kind", []NewRow{{}, {TimeStamp: 1}, {TimeStamp: 2}, {}, {}}, 10, []int{1, 2, 2}},
		{"by bytes", []NewRow{{Body: large}, {Body: large}, {}, {Body: large}}, 10, []int{1, 2, 1}},
		{"a body larger than a statement should be", []NewRow{{Body: make([]byte, maxStatement+1)}, {}}, 10, []int{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int
			total := 0
			for part := range parts(c.rows, c.size) {
				got = append(got, len(part))
				total += len(part)
			}
			if !slices.Equal(got, c.want) || total != len(c.rows) {
				t.Errorf("got parts of %v rows, want %v", got, c.want)
			}
			for range parts(c.rows, c.size) {
				break // a caller may stop
			}
		})
	}
}
