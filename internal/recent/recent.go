// Package recent remembers what was used lately, within a bound: names and ids that come
// from outside could be of any number.
package recent

import "iter"

// Map keeps the entries that were used last: the latest Most at least, and twice as many at
// most. The zero value with Most set is empty and ready. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	Most int // at least 1

	young, old map[K]V
}

// Get returns what is kept for a key. It counts as a use.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = m.young[key]; ok {
		return value, true
	}
	if value, ok = m.old[key]; ok {
		m.Set(key, value)
	}
	return value, ok
}

// Has reports whether a key is kept. It is no use.
func (m *Map[K, V]) Has(key K) bool {
	if _, ok := m.young[key]; ok {
		return true
	}
	_, ok := m.old[key]
	return ok
}

// Set keeps a value for a key. It counts as a use.
func (m *Map[K, V]) Set(key K, value V) {
	delete(m.old, key)
	if _, ok := m.young[key]; !ok && len(m.young) >= m.Most {
		m.young, m.old = nil, m.young
	}
	if m.young == nil {
		m.young = map[K]V{}
	}
	m.young[key] = value
}

// Delete forgets a key.
func (m *Map[K, V]) Delete(key K) {
	delete(m.young, key)
	delete(m.old, key)
}

// Len is how many entries there are.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }

// All are the entries, in no order. The map must not be changed meanwhile.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, generation := range []map[K]V{m.young, m.old} {
			for key, value := range generation {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}
