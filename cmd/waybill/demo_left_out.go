//go:build waybill_lean && !waybill_demo

package main

import "github.com/spf13/cobra"

func newDemoCommand() *cobra.Command { return nil }
