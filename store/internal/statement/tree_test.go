package statement_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/waybill-go/waybill/store/internal/statement"
)

func TestTreeFindsWhatIsWrappedInEveryWay(t *testing.T) {
	deep := errors.New("deep")
	beside := errors.New("beside")
	for name, err := range map[string]error{
		"itself":     deep,
		"one %w":     fmt.Errorf("a: %w", deep),
		"several %w": fmt.Errorf("%w (%w)", beside, fmt.Errorf("b: %w", deep)),
		"Join":       fmt.Errorf("c: %w", errors.Join(beside, deep)),
	} {
		t.Run(name, func(t *testing.T) {
			if all := slices.Collect(statement.Tree(err)); slices.Index(all, err) != 0 || !slices.Contains(all, deep) {
				t.Errorf("got %v, want %q first and %q among them", all, err, deep)
			}
		})
	}
	if all := slices.Collect(statement.Tree(nil)); len(all) > 0 {
		t.Errorf("got %v of nil, want nothing", all)
	}
}
