package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// logger passes the server's log on to a slog.Logger and keeps the last error.
type logger struct {
	to        *slog.Logger
	lastError atomic.Pointer[string]
	fatal     chan struct{} // closed where the server cannot start
	once      sync.Once
}

// failed reports whether the server has said that it cannot start.
func (l *logger) failed() bool {
	select {
	case <-l.fatal:
		return true
	default:
		return false
	}
}

// inUse reports whether the server could not start since its port is in use.
func (l *logger) inUse() bool {
	return l.failed() && strings.Contains(l.last(), "address already in use")
}

// say passes on one message.
func (l *logger) say(level slog.Level, format string, values []any) {
	text := fmt.Sprintf(format, values...)
	if level >= slog.LevelError {
		l.lastError.Store(&text)
	}
	if l.to != nil {
		l.to.Log(context.Background(), level, "embedded broker", slog.String("text", text))
	}
}

// last is the last error, for the error of a start that failed.
func (l *logger) last() string {
	if text := l.lastError.Load(); text != nil {
		return *text
	}
	return "it took too long; look at the directory's size and the disk"
}

func (l *logger) Noticef(format string, values ...any) { l.say(slog.LevelDebug, format, values) }
func (l *logger) Debugf(format string, values ...any)  {}
func (l *logger) Tracef(format string, values ...any)  {}
func (l *logger) Warnf(format string, values ...any)   { l.say(slog.LevelWarn, format, values) }
func (l *logger) Errorf(format string, values ...any)  { l.say(slog.LevelError, format, values) }

// Fatalf is called where the server cannot start. The process must go on.
func (l *logger) Fatalf(format string, values ...any) {
	l.say(slog.LevelError, format, values)
	l.once.Do(func() { close(l.fatal) })
}
