package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const healthHelp = `Ask a running "waybill relay", "receive" or "ui" by its --http address whether it is ready,
print what it says, and exit with status 1 where it is not: a health check for containers,
which have no curl. --live asks whether the process lives, which it does also while a
database or broker is away.`

const healthExample = `  waybill health 127.0.0.1:9090
  waybill health --live https://relay.internal:9090`

func newHealthCommand() *cobra.Command {
	var live, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "health ADDRESS",
		Short:   "Ask a running process whether it is ready",
		Long:    healthHelp,
		Example: healthExample,
		Args:    takes("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPositive(cmd, "timeout"); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return askHealth(ctx, args[0], live, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask whether it lives, not whether it is ready")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object on one line, also where it is not ready")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "the longest time to wait for the answer")
	return cmd
}

// health is what a process has answered. Its JSON form is what "health --json" prints.
type health struct {
	OK     bool   `json:"ok"`
	Status int    `json:"status"` // of HTTP
	Says   string `json:"says"`
}

func askHealth(ctx context.Context, addr string, live, asJSON bool, out io.Writer) error {
	if !strings.Contains(addr, "://") {
		if strings.HasPrefix(addr, ":") {
			addr = "127.0.0.1" + addr
		}
		addr = "http://" + addr
	}
	path := "/readyz"
	if live {
		path = "/healthz"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(addr, "/")+path, nil)
	if err != nil {
		return usagef("%.80q is no address such as 127.0.0.1:9090", addr)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	answer := health{response.StatusCode == http.StatusOK, response.StatusCode, strings.TrimSpace(string(text))}
	if asJSON || answer.OK {
		err = printLine(out, asJSON, answer, answer.Says)
	}
	if err == nil && !answer.OK {
		err = fmt.Errorf("not ready: %s", answer.Says)
	}
	return err
}
