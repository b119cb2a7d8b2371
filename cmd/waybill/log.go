package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

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
	o := &slog.HandlerOptions{Level: l}
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
