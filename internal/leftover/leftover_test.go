package leftover

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatRunsIsNamedOnceUntilAllOfItHasEnded(t *testing.T) {
	var s Set
	var work sync.WaitGroup
	release := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	began := make(chan struct{})
	for i, name := range []string{"worker", "worker", "connection"} {
		s.Go(&work, name, func() {
			began <- struct{}{}
			<-release[i]
		})
		<-began
	}
	check := func(want ...string) {
		t.Helper()
		if got := s.Names(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("connection", "worker")
	if got := s.Left("all"); !slices.Equal(got, []string{"connection", "worker"}) {
		t.Errorf("got %q left", got)
	}
	close(release[2])
	close(release[0])
	for len(s.Names()) > 1 {
		runtime.Gosched()
	}
	check("worker")
	close(release[1])
	work.Wait()
	check()
	if got := s.Left("all", "another"); !slices.Equal(got, []string{"another"}) {
		t.Errorf("beside another: got %q left, want that alone", got)
	}
	if got := s.Left("all"); !slices.Equal(got, []string{"all"}) {
		t.Errorf("between two parts: got %q left, want the whole", got)
	}
}

func TestWhatEndsItsGoroutineHasEnded(t *testing.T) {
	var s Set
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Do("quits", runtime.Goexit)
	}()
	<-ended
	if got := s.Names(); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestWhatEndsLateIsToldWithWhyItShouldHaveEnded(t *testing.T) {
	why := errors.New("the lease is lost")
	for _, c := range []struct {
		name        string
		ends        bool
		lasts, told time.Duration // after begun has ended; told is 0 where it is not
	}{
		{"nothing has to end", false, time.Minute, 0},
		{"in time", true, 9 * time.Second, 0},
		{"late", true, time.Minute, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, end := context.WithCancelCause(t.Context())
				defer end(nil)
				late := make(chan error, 1)
				over := Late(begun, 10*time.Second, late)
				began := time.Now()
				if c.ends {
					end(why)
				}
				time.AfterFunc(c.lasts, over)
				var got error
				var told time.Duration
				select {
				case got = <-late:
					told = time.Since(began)
				case <-time.After(time.Hour): // of the bubble's time
				}
				if told != c.told || got != nil && !errors.Is(got, why) {
					t.Errorf("told of %v after %v, want it after %v", got, told, c.told)
				}
				time.Sleep(time.Hour) // of the bubble's time: over is called
			})
		})
	}
}

// unnamed are the functions that start a goroutine by a go statement: Run its own, and what is
// called there has the name of what waits for it, or is a handler's and named with its message.
var unnamed = []string{"relay.Run", "relay.callListen", "inbox.Run", "inbox.handlers", "inbox.transact"}

func TestRelayAndInboxStartNothingWithoutAName(t *testing.T) {
	named := 0
	for _, name := range []string{"relay", "inbox"} {
		files, err := filepath.Glob("../../" + name + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			all := token.NewFileSet()
			parsed, err := parser.ParseFile(all, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				ast.Inspect(f, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.GoStmt:
						if !slices.Contains(unnamed, name+"."+f.Name.Name) {
							t.Errorf("%s: %s starts a goroutine that has no name", all.Position(n.Pos()), f.Name.Name)
						}
					case *ast.CallExpr:
						called, ok := n.Fun.(*ast.SelectorExpr)
						if !ok || called.Sel.Name != "Go" {
							return true
						}
						if of, ok := called.X.(*ast.SelectorExpr); !ok || of.Sel.Name != "parts" {
							t.Errorf("%s: %s starts a goroutine that has no name: use parts.Go", all.Position(n.Pos()), f.Name.Name)
						}
						named++
					}
					return true
				})
			}
		}
	}
	if named < 15 {
		t.Errorf("found %d goroutines that are started, want them all", named)
	}
}
