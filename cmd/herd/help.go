package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type helpCommand struct {
	Command string `arg:"" optional:"" predictor:"command" help:"The command (default: an overview of all commands)."`
}

// Run prints the same as --help.
func (h helpCommand) Run(parser *kong.Context) error {
	args := []string{}
	if h.Command != "" {
		args = append(args, h.Command)
	}
	page, err := kong.Trace(parser.Kong, args)
	if err != nil {
		return err
	}
	if h.Command != "" && page.Selected() == nil {
		return usageError{fmt.Errorf("help: %q is not a command: herd help lists them", h.Command)}
	}
	return page.PrintUsage(false)
}

// versionFlag prints the versions in place of a command.
type versionFlag bool

func (versionFlag) IgnoreDefault() {}

func (versionFlag) BeforeReset(app *kong.Kong) error {
	if _, err := io.WriteString(app.Stdout, versions()); err != nil {
		return outputError{err}
	}
	app.Exit(exitOK)
	return nil
}

// printHelp prints help: that of kong, and behind it the settings and exit statuses of the
// command.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return outputError{err}
	}
	command := ctx.Selected()
	if command == nil {
		if _, err := fmt.Fprintln(ctx.Stdout, "\nSettings are environment variables: herd env lists them."); err != nil {
			return outputError{err}
		}
		return nil
	}
	width := helpWidth
	if columns := terminalWidth(ctx.Stdout); columns > 0 {
		width = columns
	}
	var b strings.Builder
	section := func(title string, rows [][]string) {
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n%s:\n%s", title, formatTable(rows, width))
		}
	}
	section("Settings (environment variables; herd env has more about them)", settingRows(command))
	section("Exit status", exitRows(command))
	if _, err := io.WriteString(ctx.Stdout, b.String()); err != nil {
		return outputError{err}
	}
	return nil
}

// helpWidth is the width of help that goes to no terminal.
const helpWidth = 80

// settingRows has a row for each variable that a command reads.
func settingRows(command *kong.Node) (rows [][]string) {
	for _, v := range variables() {
		if slices.Contains(v.commands, command.Name) {
			rows = append(rows, []string{"  " + v.name, v.brief()})
		}
	}
	return rows
}

// exitMeanings is what the exit statuses mean, unless a command says something else.
var exitMeanings = []string{exitOK: "success", exitFailure: "failure", exitUsage: "invalid command line or environment"}

// exitRows has a row for each exit status of a command.
func exitRows(command *kong.Node) (rows [][]string) {
	for status, meaning := range exitMeanings {
		if own := command.Tag.Get(fmt.Sprint("exit", status)); own != "" {
			meaning = own
		}
		rows = append(rows, []string{fmt.Sprint("  ", status), meaning})
	}
	return rows
}
