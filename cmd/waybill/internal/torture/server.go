package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/internal/backoff"
)

func (n *nemesis) restartBroker(ctx context.Context, dice *rand.Rand) {
	n.killBroker(ctx, dice, "broker", "")
}

func (n *nemesis) wipeBroker(ctx context.Context, dice *rand.Rand) {
	n.killBroker(ctx, dice, "wipe", " and loses all of its data")
}

// killBroker kills the broker, wipes it where that is the fault, and starts it again after
// a while.
func (n *nemesis) killBroker(ctx context.Context, dice *rand.Rand, fault, how string) {
	release, ok := n.claim("broker")
	if !ok {
		return
	}
	defer release()
	down := between(dice, 0, 1500*time.Millisecond)
	n.note("the broker is killed%s, back in %v", how, down)
	err := n.endBroker(ctx)
	if err == nil && fault == "wipe" {
		err = n.deleteBrokerData(ctx)
	}
	if err == nil {
		n.count(fault)
	}
	backoff.Sleep(ctx, down)
	// Whatever became of the others, a user's server must not stay down.
	if err = errors.Join(err, n.startBroker(ctx)); err != nil {
		n.hookFailed(err)
		return
	}
	n.note("the broker is back")
	backoff.Sleep(ctx, 2*time.Second) // so that there is something to lose again
}

func (r *run) endBroker(ctx context.Context) error {
	if r.broker != nil {
		r.broker.Kill()
		return nil
	}
	return r.hook(ctx, r.o.BrokerKill)
}

func (r *run) deleteBrokerData(ctx context.Context) error {
	if r.broker != nil {
		return os.RemoveAll(r.brokerDir())
	}
	return r.hook(ctx, r.o.BrokerWipe)
}

func (r *run) startBroker(ctx context.Context) error {
	if r.broker != nil {
		if err := r.broker.Start(); err != nil {
			return err
		}
		_, err := supervisor.Within(context.WithoutCancel(ctx), 20*time.Second, func() bool { return isReady(r.broker) })
		return err
	}
	return r.startHook(ctx, r.o.BrokerStart)
}

func (n *nemesis) restartDatabase(ctx context.Context, dice *rand.Rand) {
	release, ok := n.claim("database")
	if !ok {
		return
	}
	defer release()
	n.note("the databases' server is killed")
	err := n.hook(ctx, n.o.DBKill)
	if err == nil {
		n.count("database")
	}
	backoff.Sleep(ctx, between(dice, 0, time.Second))
	if err = errors.Join(err, n.startHook(ctx, n.o.DBStart)); err != nil {
		n.hookFailed(err)
		return
	}
	n.note("the databases' server is back")
	backoff.Sleep(ctx, 2*time.Second)
}

// startHook runs a command that starts a server, three times at most: what is left of
// the one that was killed may be in its way for a moment.
func (r *run) startHook(ctx context.Context, command string) (err error) {
	for try := range 3 {
		if try > 0 {
			r.note("once more: %v", err)
			backoff.Sleep(context.WithoutCancel(ctx), time.Second)
		}
		if err = r.hook(ctx, command); err == nil {
			return nil
		}
	}
	return err
}

// hookFailed ends the run because of a user's command that failed, and remembers that a
// server may be down, which an interruption must not hide.
func (r *run) hookFailed(err error) {
	r.note("%v", err)
	r.mu.Lock()
	r.hookErr = errors.Join(r.hookErr, err)
	r.mu.Unlock()
	r.fail(err)
}

// hook runs a command of the user's, in a session of its own. The end of the nemesis does
// not end it, nor does an interrupt: what it has begun it has to finish, within three
// minutes. What it writes goes to a file, since a server that it starts may keep that open;
// more than a line of that is worth a note, as the end of the log of a server that was found dead.
func (r *run) hook(ctx context.Context, command string) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	output, err := os.CreateTemp("", "waybill-hook-")
	if err != nil {
		return err
	}
	defer os.Remove(output.Name())
	defer output.Close()
	cmd := exec.CommandContext(limited, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = output, output
	supervisor.Detach(cmd)
	err = cmd.Run()
	text, _ := os.ReadFile(output.Name())
	said := strings.TrimSpace(string(text))
	if err != nil {
		return fmt.Errorf("the command %q failed: %w\n%s", command, err, said)
	}
	if strings.Contains(said, "\n") {
		r.note("the command %q said:\n%s", command, said)
	}
	return nil
}
