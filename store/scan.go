package store

import (
	"context"
	"slices"
)

// Scan reads rows with id > after in order of id, whatever their status, until
// limit rows or maxBytes of headers and bodies are reached (0 or less: no bound of
// bytes); at least one row if there is one.
func (q *Queue) Scan(ctx context.Context, after int64, limit, maxBytes int) ([]Row, error) {
	return q.scan(ctx, "scan messages", Row{ID: after}, limit, maxBytes, func(last Row, size int) Statement {
		return q.dialect.Scan(q.names, last.ID, size)
	})
}

// ScanDestination reads pending rows of one destination with after < id <= upTo that
// are due by the database's clock, in order of id; limit and maxBytes are Scan's.
func (q *Queue) ScanDestination(ctx context.Context, destination string, topic bool, after, upTo int64, limit, maxBytes int) ([]Row, error) {
	return q.scan(ctx, "scan a destination", Row{ID: after}, limit, maxBytes, func(last Row, size int) Statement {
		return q.dialect.ScanDestination(q.names, destination, topic, last.ID, upTo, size)
	})
}

// ScanDue reads pending rows that were delayed and have become due by the database's
// clock, in order of (NotBefore in µs, ID), those behind (notBefore, id) alone; limit
// and maxBytes are Scan's.
func (q *Queue) ScanDue(ctx context.Context, notBefore, id int64, limit, maxBytes int) ([]Row, error) {
	return q.scan(ctx, "scan due messages", Row{NotBefore: notBefore, ID: id}, limit, maxBytes, func(last Row, size int) Statement {
		return q.dialect.ScanDue(q.names, last.NotBefore, last.ID, size)
	})
}

// scan reads pages behind the row last. next builds the statement for the page of at
// most size rows behind a row.
func (q *Queue) scan(ctx context.Context, doing string, last Row, limit, maxBytes int, next func(last Row, size int) Statement) ([]Row, error) {
	p := pages{queue: q, doing: doing, limit: limit, maxBytes: maxBytes}
	for !p.full() {
		size := p.size()
		page, err := p.read(ctx, next(last, size), size)
		if err != nil {
			return nil, err
		}
		if len(page) < size {
			break
		}
		last = page[len(page)-1]
	}
	return p.rows, nil
}

// Rows reads those of the ids that are pending, in order of id, until maxBytes of
// headers and bodies are reached (0 or less: no bound): a result may lack rows that
// are there, but never the first.
func (q *Queue) Rows(ctx context.Context, ids []int64, maxBytes int) ([]Row, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	p := pages{queue: q, doing: "read messages", limit: len(ids), maxBytes: maxBytes}
	for len(ids) > 0 && !p.full() {
		size := min(p.size(), len(ids))
		if _, err := p.read(ctx, q.dialect.Rows(q.names, ids[:size]), size); err != nil {
			return nil, err
		}
		ids = ids[size:]
	}
	return p.rows, nil
}

// Sweep reads at most limit pending rows with after < id <= upTo in order of id,
// without their Headers, Body and LastError.
func (q *Queue) Sweep(ctx context.Context, after, upTo int64, limit int) ([]Row, error) {
	rows, _, err := q.rows(ctx, "sweep messages", q.dialect.Sweep(q.names, after, upTo, limit), 0)
	return rows, err
}
