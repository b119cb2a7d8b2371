package store

import (
	"context"
	"database/sql"
	"errors"
)

// pages reads rows until there are limit of them, maxBytes of headers and bodies
// are reached (0 or less: no bound), or there are no more. next builds the
// statement for the page after last, which is nil at first.
//
// A database sends all that a statement asks for, also what its reader no longer
// wants, so bodies of megabytes must not be asked for by the hundred: the size of
// a page follows what maxBytes held before.
func (q *Queue) pages(ctx context.Context, doing string, limit, maxBytes int, next func(last *Row, limit int) Statement) ([]Row, error) {
	var found []Row
	var last *Row
	for left := maxBytes; len(found) < limit && (left > 0 || maxBytes <= 0); {
		page := q.page(limit-len(found), maxBytes)
		rows, bytes, err := q.rows(ctx, doing, next(last, page), left)
		if err != nil {
			return nil, err
		}
		found = append(found, rows...)
		left -= bytes
		q.learn(page, len(rows), maxBytes > 0 && left <= 0)
		if len(rows) < page {
			break
		}
		last = &rows[len(rows)-1]
	}
	return found, nil
}

// page is the number of rows to ask for where limit are wanted.
func (q *Queue) page(limit, maxBytes int) int {
	page := min(limit, max(q.dialect.Capabilities().MaxBatch, 1))
	if fit := int(q.fit.Load()); fit > 0 && maxBytes > 0 {
		page = min(page, fit)
	}
	return page
}

// learn notes how many rows of a page maxBytes held.
func (q *Queue) learn(page, got int, full bool) {
	switch fit := q.fit.Load(); {
	case full:
		q.fit.Store(int64(max(got, 1)))
	case fit > 0 && got == page:
		q.fit.CompareAndSwap(fit, fit*2)
	}
}

// rows reads whole rows and their size. It stops once maxBytes of headers and
// bodies are reached, where that is above 0.
func (q *Queue) rows(ctx context.Context, doing string, s Statement, maxBytes int) (found []Row, bytes int, err error) {
	err = q.each(ctx, doing, s, func(rows *sql.Rows) error {
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

// errEnough ends each without an error.
var errEnough = errors.New("enough")
