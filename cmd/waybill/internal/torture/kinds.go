package torture

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// The kinds of effects, of which a state of an order has the group of its consumer. behindKind
// is what a handler writes when it has ended its transaction: nothing of that may stay.
const (
	transferKind = "transfer"
	noticeKind   = "notice"
	parcelKind   = "parcel"
	errandKind   = "errand"
	foreignKind  = "foreign" // a message of the fault of that name
	behindKind   = "behind the end"
)

// effectKinds are those that a message of the run can have. Each of them has a check.
var effectKinds = []string{transferKind, noticeKind, parcelKind, errandKind, foreignKind, latestGroup, mirrorGroup, auditGroup}

// checkKinds: no effect is of a kind that no message has, which none of the other checks looks
// at.
func (c *checker) checkKinds(ctx context.Context) error {
	return c.consumerDB.each(ctx, `SELECT kind, ref, version, token, who FROM {effect} ORDER BY n`, func(rows *sql.Rows) error {
		v := violation{check: "phantom"}
		var token, who string
		err := rows.Scan(&v.kind, &v.ref, &v.version, &token, &who)
		if err == nil && !slices.Contains(effectKinds, v.kind) {
			v.text = fmt.Sprintf("%q of transaction %s took effect at %s, and no message has an effect of that kind", v.kind, token, who)
			c.add(v)
		}
		return err
	})
}
