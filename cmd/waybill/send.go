package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	waybill "github.com/waybill-go/waybill"
	"github.com/waybill-go/waybill/cmd/waybill/internal/jsonl"
	"github.com/waybill-go/waybill/cmd/waybill/internal/terminal"
	"github.com/waybill-go/waybill/outbox"
	"github.com/waybill-go/waybill/store"
)

const sendHelp = `Write messages to the outbox, from where a relay moves them to the broker.

With --body one message is sent. Without it, standard input is read: one message for
each JSON line

  {"destination":"orders", "key":"A-1", "headers":{"kind":"placed"}, "body":"text"}

with "body_base64" in place of "body" for bytes that are no text. All but the body may
be left out: DESTINATION, --key and --header then count. Lines are written in
transactions of at most 500 lines or 4 MiB, and at least whenever the input pauses.
Each transaction is written as a whole or not at all; an error names the line, and
which lines were sent before.

The id of each message is printed once it is committed; with --json a JSON line.`

const sendExample = `  waybill send orders --key A-1 --body '{"state":"shipped"}'
  waybill send mails --body "$(cat mail.txt)" --header content-type=text/plain --not-before 10m
  jq -c '{key:(.id|tostring), body:tojson}' orders.json | waybill send orders
  waybill send prices --topic --body '{"eur":12}'`

type sendFlags struct {
	key, body, notBefore string
	headers              []string
	topic, json, quiet   bool
}

func newSendCommand(o *options) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:     "send DESTINATION",
		Short:   "Send messages through the outbox",
		Long:    sendHelp,
		Example: sendExample,
		Args:    takes("DESTINATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			base, err := f.message(args[0])
			if err != nil {
				return err
			}
			d, err := o.openAnswering(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			out, err := outbox.New(d.dialect, &outbox.Options{TablePrefix: o.prefix})
			if err != nil {
				return err
			}
			s := &sender{out: out, db: d.DB, dialect: d.dialect, w: cmd.OutOrStdout(), json: f.json, quiet: f.quiet}
			if cmd.Flags().Changed("body") {
				base.Body = []byte(f.body)
				return s.send(cmd.Context(), &jsonl.Group{Messages: []waybill.Message{base}})
			}
			if terminal.Is(cmd.InOrStdin()) {
				fmt.Fprintln(cmd.ErrOrStderr(), "Reading messages from the terminal, one JSON line each; end with Ctrl-D.")
			}
			return s.stream(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), base)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.key, "key", "", "`key`, or business mark: the identity of what the message is about")
	flags.StringVar(&f.body, "body", "", "`text` of the body (default: JSON lines on standard input)")
	flags.StringArrayVar(&f.headers, "header", nil, "a header, as `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.notBefore, "not-before", "", "delay: a `time` such as 2030-01-31T12:00:00Z, or from now, such as 90s")
	flags.BoolVar(&f.topic, "topic", false, "DESTINATION is a topic")
	flags.BoolVar(&f.json, "json", false, "print a JSON line for each message that was sent")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing for messages that were sent")
	cmd.MarkFlagsMutuallyExclusive("json", "quiet")
	cmd.ValidArgsFunction = o.offer(destinations)
	return cmd
}

// message is what the flags say of each message. What no message could have is
// wrong usage.
func (f *sendFlags) message(destination string) (waybill.Message, error) {
	m := waybill.Message{Destination: destination, Topic: f.topic, Key: f.key}
	var wrong []error
	if err := waybill.CheckDestination(destination); err != nil {
		wrong = append(wrong, usagef("DESTINATION %.80q %w", destination, err))
	}
	if err := waybill.CheckKey(f.key); err != nil {
		wrong = append(wrong, usagef("--key %.80q %w", f.key, err))
	}
	for _, h := range f.headers {
		name, value, found := strings.Cut(h, "=")
		if !found {
			wrong = append(wrong, usagef("--header %.80q: write NAME=VALUE", h))
			continue
		}
		if err := waybill.CheckHeader(name, value); err != nil {
			wrong = append(wrong, usagef("--header: %w", err))
		}
		if m.Headers == nil {
			m.Headers = map[string]string{}
		}
		m.Headers[name] = value
	}
	var err error
	if m.NotBefore, err = f.due(); err != nil {
		wrong = append(wrong, err)
	}
	return m, errors.Join(wrong...)
}

// due is what --not-before says.
func (f *sendFlags) due() (time.Time, error) {
	if f.notBefore == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, f.notBefore); err == nil {
		return at, nil
	}
	delay, err := time.ParseDuration(f.notBefore)
	if err != nil || delay < 0 {
		return time.Time{}, usagef("--not-before %.80q is neither a time such as 2030-01-31T12:00:00Z nor one from now such as 90s", f.notBefore)
	}
	return time.Now().Add(delay), nil
}

// sender writes groups of messages, each in one transaction.
type sender struct {
	out         *outbox.Outbox
	db          *sql.DB
	dialect     store.Dialect
	w           io.Writer
	json, quiet bool

	sent     int
	lastLine int
}

// stream sends what standard input holds.
func (s *sender) stream(ctx context.Context, in io.Reader, stderr io.Writer, base waybill.Message) error {
	progress := terminal.NewProgress(stderr)
	if terminal.Is(s.w) && !s.quiet {
		progress = terminal.NewProgress(nil) // the ids themselves show it
	}
	defer progress.Clear()
	lines := jsonl.NewReader(ctx, in, base)
	for {
		group, err := lines.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.send(ctx, group)
		}
		if err != nil {
			return fmt.Errorf("%w; %s", err, s.soFar())
		}
		progress.Update("%d messages sent, up to line %d", s.sent, s.lastLine)
	}
}

// soFar says what was sent before an error.
func (s *sender) soFar() string {
	if s.sent == 0 {
		return "nothing was sent"
	}
	return fmt.Sprintf("the %d messages up to line %d were sent and nothing after it", s.sent, s.lastLine)
}

// send writes a group in one transaction and prints it.
func (s *sender) send(ctx context.Context, g *jsonl.Group) error {
	for i := range g.Messages {
		m := &g.Messages[i]
		if m.ID = waybill.NewID(); m.NotBefore.After(time.Now()) {
			m.ID = waybill.NewIDAt(m.NotBefore)
		}
	}
	written := false // the rest is the commit
	err := s.out.InTx(ctx, s.db, func(tx *sql.Tx) error {
		err := s.out.Send(ctx, tx, g.Messages...)
		written = err == nil
		return err
	})
	wrong := faultsOf(err)
	unknown := written && ctx.Err() == nil && s.dialect.Condition(err) == store.Unavailable
	switch {
	case err == nil:
	case len(wrong) > 0 && len(g.Lines) > 0:
		named := make([]error, len(wrong))
		for i, w := range wrong {
			named[i] = fmt.Errorf("line %d: the message to %.80q: %s: %s", g.Lines[w.Index], w.Destination, w.Field, w.Reason)
		}
		return errors.Join(named...)
	case unknown && len(g.Lines) > 0:
		return fmt.Errorf("lines %d to %d may or may not be sent, since the database's answer was lost: %w", g.First(), g.Last(), err)
	case unknown:
		return fmt.Errorf("the message %s may or may not be sent, since the database's answer was lost: %w", g.Messages[0].ID, err)
	case len(g.Lines) > 0:
		return fmt.Errorf("lines %d to %d: %w", g.First(), g.Last(), err)
	default:
		return err
	}
	s.sent += len(g.Messages)
	if len(g.Lines) > 0 {
		s.lastLine = g.Last()
	}
	return s.print(g)
}

// faultsOf are the messages' faults that an error of Send names.
func faultsOf(err error) []*waybill.MessageError {
	switch err := err.(type) { //nolint:errorlint // it is taken apart here
	case *waybill.MessageError:
		return []*waybill.MessageError{err}
	case interface{ Unwrap() error }:
		return faultsOf(err.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*waybill.MessageError
		for _, each := range err.Unwrap() {
			all = append(all, faultsOf(each)...)
		}
		return all
	}
	return nil
}

// sentLine is what --json prints for each message.
type sentLine struct {
	MessageID   waybill.ID `json:"message_id"`
	Destination string     `json:"destination"`
	Key         string     `json:"key"`
}

func (s *sender) print(g *jsonl.Group) error {
	if s.quiet {
		return nil
	}
	var text []byte
	for i := range g.Messages {
		m := &g.Messages[i]
		if !s.json {
			text = append(append(text, m.ID.String()...), '\n')
			continue
		}
		line, err := jsonl.Marshal(sentLine{m.ID, m.Destination, m.Key})
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	_, err := s.w.Write(text)
	return err
}
