package status

import (
	"context"
	"errors"
	"fmt"
	"io"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/view"
	"github.com/waybill-go/waybill/store"
)

// readPaused adds the destinations that are paused, of both sides.
func (r *Reader) readPaused(ctx context.Context, report *Report) error {
	report.Paused = []view.Pause{}
	if err := r.queue.CheckSchema(ctx); err == nil {
		all, err := r.queue.Pauses(ctx)
		if err != nil {
			return err
		}
		report.Paused = view.Pauses(store.Producer, all)
	} else if !errors.Is(err, waybill.ErrSchema) {
		return err
	}
	keeper, err := store.NewKeeper(r.db, r.dialect, r.prefix, "")
	if err != nil {
		return err
	}
	defer keeper.CloseIdle()
	if err := keeper.CheckSchema(ctx); errors.Is(err, waybill.ErrSchema) {
		return nil
	} else if err != nil {
		return err
	}
	all, err := keeper.Pauses(ctx)
	report.Paused = append(report.Paused, view.Pauses(store.Consumer, all)...)
	return err
}

// writePaused tells a person which destinations are paused.
func (r *Report) writePaused(w io.Writer) {
	for i := range r.Paused {
		fmt.Fprintf(w, "Paused\t%s\n", r.Paused[i].Text(r.At))
	}
}
