package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"
)

type manpageCommand struct{}

// Help is shown by herd manpage --help.
func (manpageCommand) Help() string {
	return `To read it, or to install it:

    herd manpage | man -l -
    herd manpage > /usr/local/share/man/man1/herd.1`
}

// Run prints the manual page. It has no date, so that equal programs print equal pages.
func (manpageCommand) Run(ctx *kong.Context, c console) error {
	_, err := io.WriteString(c.Out, manpage(ctx.Model.Node))
	return err
}

// manpage is the manual page in the language of the man macros, made of the command line and
// the settings.
func manpage(app *kong.Node) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	item := func(head, text string) {
		line(".TP\n%s\n%s", head, roff(text))
	}
	line(`.\" Written by herd manpage.`)
	line(`.TH HERD 1 "" "herd %s"`, roff(strings.Trim(version(), "()")))
	line(".SH NAME\nherd \\- servers that track the locations of mobile clients")
	line(".SH SYNOPSIS\n.B herd\n.I command\n.RI [ flags ]\n.RI [ arguments ]")
	line(".SH DESCRIPTION\n%s", roff(app.Help))
	line(`.SH COMMANDS`)
	for _, command := range app.Children {
		line(".SS herd %s", roff(command.Summary()))
		line("%s", roff(command.Help))
		if command.Detail != "" {
			line("%s", roffDetail(command.Detail))
		}
		for _, p := range command.Positional {
			item(`.I "`+roff(p.Name)+`"`, p.Help)
		}
		for _, f := range command.Flags {
			item(roffFlag(f), f.Help)
		}
		if rows := exitRows(command); len(rows) > 0 {
			line(".PP\nExit status:")
			for _, row := range rows {
				line(".br\n\\ \\ %s", roff(strings.Join([]string{strings.TrimSpace(row[0]), row[1]}, ": ")))
			}
		}
	}
	line(".SS Flags of all commands")
	for _, f := range app.Flags {
		item(roffFlag(f), f.Help)
	}
	line(".SH EXIT STATUS")
	for status, meaning := range exitMeanings {
		item(fmt.Sprintf(".B %d", status), meaning+".")
	}
	line("%s", ".PP\nThe commands above say what it means for them.")
	line(".SH ENVIRONMENT\n%s", roff("All settings are environment variables. An empty one counts as unset. An unknown name that begins with HERD_ is an error."))
	for _, v := range variables() {
		text := v.meaning + "."
		if v.fallback != "" {
			text += " Default: " + v.fallback + "."
		}
		item(".B "+roff(v.name), text+" Read by "+strings.Join(v.commands, ", ")+".")
	}
	return b.String()
}

func roffFlag(f *kong.Flag) string {
	name := ".B " + roff("--"+f.Name)
	if f.Short != 0 {
		name = ".B " + roff("-"+string(f.Short)+", --"+f.Name)
	}
	if !f.IsBool() {
		name += roff("=" + f.FormatPlaceHolder())
	}
	return name
}

// roff escapes text on one line.
func roff(text string) string { return roffLine(summary(text)) }

// roffLine escapes a line, whose spaces stay: a backslash, a hyphen, which would become a
// dash, what is not ASCII, and a dot or quote at its beginning, which would make it a request.
func roffLine(line string) string {
	var b strings.Builder
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		b.WriteString(`\&`)
	}
	for _, r := range line {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r > unicode.MaxASCII:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// roffDetail formats detailed help: paragraphs, and indented lines as they are.
func roffDetail(text string) string {
	var b strings.Builder
	for _, block := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if !strings.HasPrefix(block, " ") {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(block))
			continue
		}
		b.WriteString(".PP\n.RS\n.nf\n")
		for line := range strings.Lines(block) {
			b.WriteString(roffLine(strings.TrimSpace(line)) + "\n")
		}
		b.WriteString(".fi\n.RE\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}
