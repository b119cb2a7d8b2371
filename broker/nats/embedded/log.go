package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
)

// logger passes the server's words on and keeps the last complaint.
type logger struct {
	to        *slog.Logger
	complaint atomic.Pointer[string]
	fatal     chan struct{} // closed where the server cannot start
	once      sync.Once
}

func (l *logger) failed() bool {
	select {
	case <-l.fatal:
		return true
	default:
		return false
	}
}

// inUse says that the server could not start since something else has its port.
func (l *logger) inUse() bool {
	return l.failed() && strings.Contains(l.last(), "address already in use")
}

func (l *logger) say(level slog.Level, format string, values []any) {
	text := fmt.Sprintf(format, values...)
	if level >= slog.LevelError {
		l.complaint.Store(&text)
	}
	if l.to != nil {
		l.to.Log(context.Background(), level, "embedded broker", slog.String("text", text))
	}
}

// last is the last error, for the message of a start that failed.
func (l *logger) last() string {
	if text := l.complaint.Load(); text != nil {
		return *text
	}
	return "it took too long; look at the directory's size and the disk"
}

func (l *logger) Noticef(format string, values ...any) { l.say(slog.LevelDebug, format, values) }
func (l *logger) Debugf(format string, values ...any)  {}
func (l *logger) Tracef(format string, values ...any)  {}
func (l *logger) Warnf(format string, values ...any)   { l.say(slog.LevelWarn, format, values) }
func (l *logger) Errorf(format string, values ...any)  { l.say(slog.LevelError, format, values) }

// Fatalf is called where the server cannot start; it must not end the process.
func (l *logger) Fatalf(format string, values ...any) {
	l.say(slog.LevelError, format, values)
	l.once.Do(func() { close(l.fatal) })
}
