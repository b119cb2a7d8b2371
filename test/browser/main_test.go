// Package browser opens the page for the person on duty in Chromium, on a relay, a broker and
// an inbox that run, and does there what a person does. It is a module of its own, so that
// nobody who uses Waybill has to have chromedp.
//
// Whatever a test does, its tab is watched: nothing may stand in the console or break the
// Content-Security-Policy, no script may fail, and no request may leave the page's origin.
//
// The files: main_test.go (Chromium), tab_test.go (a tab and its watch), world_test.go (two
// services, and the page), repair_test.go (rejected messages), live_test.go (what moves by
// itself), pause_test.go (pauses, and other processes), access_test.go (the rules of accessibility, the keyboard), hostile_test.go (text
// that would like to run), watch_test.go (the watch finds what it is for).
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

const root = "../.." // of the repository

func TestMain(m *testing.M) {
	status := m.Run()
	if chromium.close != nil {
		chromium.close()
	}
	os.Exit(status)
}

// chromium is the one browser of all tests. Tabs have profiles of their own.
var chromium struct {
	sync.Mutex
	ctx   context.Context
	close func()
	err   error
}

// installed is the directory with Chromium and axe-core. Where it is missing the test is
// skipped with the command that installs them, or fails where they are required.
func installed(t *testing.T) string {
	t.Helper()
	return testserver.Foreign(t, root, "browser")
}

// browser starts Chromium, once.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := filepath.Join(installed(t), "chromium")
	chromium.Lock()
	defer chromium.Unlock()
	if chromium.ctx == nil && chromium.err == nil {
		chromium.ctx, chromium.close, chromium.err = start(program) //nolint:fatcontext // one for all tests
	}
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	return chromium.ctx
}

func start(program string) (ctx context.Context, end func(), err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.WindowSize(1280, 900),
		// It finds this machine and no other, whatever a page wants.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium does not start as root with it
	}
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "chromedp: "+format+"\n", args...)
	}))
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		release()
		return nil, nil, fmt.Errorf("start %s: %w", program, err)
	}
	return ctx, func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "end Chromium:", err)
		}
		cancel()
		release()
	}, nil
}
