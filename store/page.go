package store

import (
	"context"
	"database/sql"
)

// pages reads rows page by page, until there are limit of them or maxBytes of headers
// and bodies.
//
// A database sends all that a statement asks for, also what its reader no longer
// wants, so bodies of megabytes must not be asked for by the hundred: a page is as
// long as what maxBytes held before, which Queue.fit remembers (in rows; 0: as long
// as the dialect takes).
type pages struct {
	queue    *Queue
	doing    string // for errors
	limit    int
	maxBytes int // 0 or less: no bound
	bytes    int // read so far
	rows     []Row
}

// full reports whether as much has been read as was asked for.
func (p *pages) full() bool { return len(p.rows) >= p.limit || p.outOfBytes() }

func (p *pages) outOfBytes() bool { return p.maxBytes > 0 && p.bytes >= p.maxBytes }

// size is the number of rows to ask for next.
func (p *pages) size() int {
	size := min(p.limit-len(p.rows), max(p.queue.dialect.Capabilities().MaxBatch, 1))
	if fit := int(p.queue.fit.Load()); fit > 0 && p.maxBytes > 0 {
		size = min(size, fit)
	}
	return size
}

// read reads the page of at most size rows that the statement asks for.
func (p *pages) read(ctx context.Context, s Statement, size int) ([]Row, error) {
	page, bytes, err := p.queue.rows(ctx, p.doing, s, p.maxBytes-p.bytes)
	if err != nil {
		return nil, err
	}
	p.rows = append(p.rows, page...)
	p.bytes += bytes
	switch fit := p.queue.fit.Load(); {
	case p.outOfBytes():
		p.queue.fit.Store(int64(max(len(page), 1)))
	case fit > 0 && len(page) == size:
		p.queue.fit.CompareAndSwap(fit, fit*2)
	}
	return page, nil
}

// rows reads whole rows and their size. It stops once maxBytes of headers and
// bodies are reached, where that is above 0.
func (q *Queue) rows(ctx context.Context, doing string, s Statement, maxBytes int) (found []Row, bytes int, err error) {
	return q.rowsIn(ctx, q.sessions.reads, doing, s, maxBytes)
}

// rowsIn is rows in a turn of that kind.
func (q *Queue) rowsIn(ctx context.Context, turn chan struct{}, doing string, s Statement, maxBytes int) (found []Row, bytes int, err error) {
	err = q.eachIn(ctx, turn, doing, s, func(rows *sql.Rows) error {
		var r Row
		var headers, lastError sql.NullString
		if err := rows.Scan(&r.ID, &r.MessageID, &r.Destination, &r.Topic, &r.Key, &r.Sequence, &r.TimeStamp,
			&headers, &r.Body, &r.Status, &r.Retry, &r.Failures, &r.NotBefore, &lastError); err != nil {
			return err
		}
		r.Headers, r.LastError = headers.String, lastError.String
		if r.Body == nil { // as some drivers read an empty one
			r.Body = []byte{}
		}
		found = append(found, r)
		if bytes += len(r.Body) + len(r.Headers); maxBytes > 0 && bytes >= maxBytes {
			return errEnough
		}
		return nil
	})
	return found, bytes, err
}
