package figure

import (
	"slices"
	"strings"
	"sync"
)

// Others is the label's value of all names beyond the bound. It can be no destination's and no
// consumer's name, which have no white space.
const Others = "all others"

// DefaultNames is how many names of destinations, and of consumers, have figures of their own.
const DefaultNames = 500

// names bounds the values of a label: the names that were met first keep figures of their own for
// as long as the process runs, so that no series ends or begins because of others. It is safe
// for concurrent use.
type names struct {
	most int

	mu  sync.Mutex
	met map[string]bool
}

func newNames(most int) *names {
	if most <= 0 {
		most = DefaultNames
	}
	return &names{most: most, met: map[string]bool{}}
}

// label is a name, or Others.
func (n *names) label(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD") // rows may come from elsewhere
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.met[name] {
		if len(n.met) >= n.most {
			return Others
		}
		n.met[name] = true
	}
	return name
}

// collected are figures, of which those with the same labels are one.
type collected struct {
	all []Figure
	at  map[string]int // where they are in all
}

// add adds a figure, or joins it with the one that has its labels.
func (c *collected) add(f Figure, join func(a, b float64) float64) {
	key := f.Name + "\x00" + strings.Join(f.At, "\x00")
	i, there := c.at[key]
	if there {
		c.all[i].Value = join(c.all[i].Value, f.Value)
		return
	}
	if c.at == nil {
		c.at = map[string]int{}
	}
	c.at[key] = len(c.all)
	c.all = append(c.all, f)
}

// addEach adds the figures of something with labels.
func addEach[S any](c *collected, families []labelled[S], of *S, at ...string) {
	for i := range families {
		f := &families[i]
		c.add(Figure{Family: &f.Family, Value: f.value(of), At: slices.Clone(at)}, f.join)
	}
}
