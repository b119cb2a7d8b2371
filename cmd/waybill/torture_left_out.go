//go:build waybill_lean && !waybill_torture

package main

import "github.com/spf13/cobra"

func newTortureCommand(*options) *cobra.Command { return nil }
