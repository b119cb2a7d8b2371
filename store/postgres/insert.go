package postgres

import (
	"github.com/waybill-go/waybill/store"
	"github.com/waybill-go/waybill/store/internal/statement"
)

// insertOne is a message without a key.
const insertOne = `
INSERT INTO {qmessage} (message_id, destination, dest_type, time_stamp, headers, message_content, not_before)
VALUES ($1::uuid, $2::text, $3::smallint,
	CASE WHEN $4::bigint > 0 THEN $4::bigint ELSE ` + clock + ` END,
	nullif($5::text, ''), $6::bytea, $7::bigint)`

// insertOneKeyed is a message with a key. A key that has no row goes on above what was
// forgotten of its destination's keys (see keys.go), if anything. The row of qmessage_key stays locked to
// the end of the transaction, and clock_timestamp is read under that lock, so
// sequence, time stamp and commit have one order per key.
const insertOneKeyed = `
WITH bumped AS (
	INSERT INTO {qmessage_key} AS k (destination, dest_type, business_mark, sequence, time_stamp)
	SELECT $2::text, $3::smallint, $8::text, 1 + coalesce(max(f.sequence), 0),
		greatest(CASE WHEN $4::bigint > 0 THEN $4::bigint ELSE ` + clock + ` END,
			max(f.time_stamp) + CASE WHEN $4::bigint > 0 THEN 0 ELSE 1 END)
	FROM {qmessage_key} f
	WHERE f.destination = '' AND f.dest_type = $3::smallint AND f.business_mark = $2::text
	ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
	SET sequence = k.sequence + 1,
		time_stamp = CASE WHEN $4::bigint > 0 THEN greatest(k.time_stamp, $4::bigint)
			ELSE greatest(` + clock + `, k.time_stamp + 1) END
	RETURNING sequence, time_stamp
)
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, not_before)
SELECT $1::uuid, $2::text, $3::smallint, $8::text, sequence,
	CASE WHEN $4::bigint > 0 THEN $4::bigint ELSE time_stamp END,
	nullif($5::text, ''), $6::bytea, $7::bigint
FROM bumped`

// counted is the number of a key's rows in insertMany, for a key that has its row.
const counted = `(excluded.sequence - coalesce((
		SELECT f.sequence FROM forgotten f WHERE f.destination = excluded.destination AND f.dest_type = excluded.dest_type), 0))`

// insertMany is any number of messages. All bodies travel as one argument, of which
// each row takes its part: an array of bytea would double them in hexadecimal.
// "following" is the number of rows of the same key behind a row; $11 says that the time stamps are the caller's own.
const insertMany = `
WITH given AS (
	SELECT *
	FROM unnest($1::text::uuid[], $2::text::text[], $3::text::smallint[], $4::text::text[], $5::text::bigint[],
		$6::text::text[], $7::text::bigint[], $8::text::int[], $9::text::int[])
	WITH ORDINALITY AS g (message_id, destination, dest_type, business_mark, own, headers, not_before, size, following, place)
), placed AS (
	SELECT *, sum(size) OVER (ORDER BY place) - size AS body_at FROM given
), forgotten AS MATERIALIZED (
	SELECT dest_type, business_mark AS destination, sequence, time_stamp
	FROM {qmessage_key}
	WHERE destination = '' AND business_mark = ANY ($2::text::text[])
), bumped AS (
	INSERT INTO {qmessage_key} AS k (destination, dest_type, business_mark, sequence, time_stamp)
	SELECT destination, dest_type, business_mark, count(*) + coalesce(max(f.sequence), 0),
		CASE WHEN $11::boolean THEN greatest(max(own), max(f.time_stamp))
			ELSE greatest(` + clock + `, max(f.time_stamp) + 1) + count(*) - 1 END
	FROM given
	LEFT JOIN forgotten f USING (destination, dest_type)
	WHERE business_mark <> ''
	GROUP BY destination, dest_type, business_mark
	ORDER BY min(place)
	ON CONFLICT (destination, dest_type, business_mark) DO UPDATE
	SET sequence = k.sequence + ` + counted + `,
		time_stamp = CASE WHEN $11::boolean THEN greatest(k.time_stamp, excluded.time_stamp)
			ELSE greatest(` + clock + `, k.time_stamp + 1) + ` + counted + ` - 1 END
	RETURNING destination, dest_type, business_mark, sequence, time_stamp
)
INSERT INTO {qmessage} (message_id, destination, dest_type, business_mark, sequence, time_stamp, headers, message_content, not_before)
SELECT p.message_id, p.destination, p.dest_type, p.business_mark,
	coalesce(b.sequence - p.following, 0),
	CASE WHEN $11::boolean THEN p.own ELSE coalesce(b.time_stamp - p.following, ` + clock + `) END,
	nullif(p.headers, ''),
	substring($10::bytea FROM p.body_at::int + 1 FOR p.size),
	p.not_before
FROM placed p
LEFT JOIN bumped b ON b.destination = p.destination AND b.dest_type = p.dest_type AND b.business_mark = p.business_mark
ORDER BY p.place`

// Insert implements store.ProducerDialect, with one statement whatever it is given.
func (dialect) Insert(n store.Names, rows []store.NewRow) []store.Statement {
	if len(rows) == 1 {
		r := rows[0]
		args := []any{r.ID.String(), r.Destination, statement.Flag(r.Topic), r.TimeStamp, r.Headers, r.Body, r.NotBefore}
		if r.Key == "" {
			return []store.Statement{statement.New(n, insertOne, args...)}
		}
		return []store.Statement{statement.New(n, insertOneKeyed, append(args, r.Key)...)}
	}
	a := arraysOf(rows)
	return []store.Statement{statement.New(n, insertMany, a.ids, a.destinations, a.types, a.keys,
		a.own, a.headers, a.delays, a.sizes, intArray(store.CountFollowing(rows)), a.bodies, rows[0].TimeStamp > 0)}
}

// rowArrays are rows column by column.
type rowArrays struct {
	ids, destinations, types, keys, own, headers, delays, sizes string
	bodies                                                      []byte
}

func arraysOf(rows []store.NewRow) rowArrays {
	ids, destinations, types := newArray(37*len(rows)), newArray(16*len(rows)), newArray(2*len(rows))
	keys, own, headers := newArray(16*len(rows)), newArray(17*len(rows)), newArray(16*len(rows))
	delays, sizes := newArray(2*len(rows)), newArray(5*len(rows))
	total := 0
	for _, r := range rows {
		ids.id(r.ID)
		destinations.text(r.Destination)
		types.int(statement.Flag(r.Topic))
		keys.text(r.Key)
		own.int(r.TimeStamp)
		headers.text(r.Headers)
		delays.int(r.NotBefore)
		sizes.int(int64(len(r.Body)))
		total += len(r.Body)
	}
	bodies := make([]byte, 0, total)
	for _, r := range rows {
		bodies = append(bodies, r.Body...)
	}
	return rowArrays{
		ids: ids.String(), destinations: destinations.String(), types: types.String(), keys: keys.String(),
		own: own.String(), headers: headers.String(), delays: delays.String(), sizes: sizes.String(), bodies: bodies,
	}
}
