package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/waybill-go/waybill/internal/redact"
)

// withoutPasswords redacts addresses in what is logged, such as in a driver's error, which it
// puts on one line.
func withoutPasswords(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(redact.Message(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(message(err))
		}
	}
	return a
}

// setLogger makes the process's logger write to stderr.
func setLogger(stderr io.Writer, level, format string) error {
	var l slog.Level
	switch strings.ToLower(level) {
	case "debug", "info", "warn", "error":
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("--log-level is %.40q; use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l, ReplaceAttr: withoutPasswords}
	switch format {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(stderr, o)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(stderr, o)))
	default:
		return fmt.Errorf("--log-format is %.40q; use text or json", format)
	}
	return nil
}
