package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}."`
}

// Help is shown by herd completion --help.
func (completionCommand) Help() string {
	return `To use it in the shells of this user, for bash, zsh and fish:

    echo 'source <(herd completion bash)' >> ~/.bashrc
    echo 'source <(herd completion zsh)' >> ~/.zshrc
    herd completion fish > ~/.config/fish/completions/herd.fish`
}

// Run prints a script that defines the completions of the program's commands and flags.
func (s completionCommand) Run(ctx *kong.Context, c console) error {
	script := map[string]func(*kong.Node) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[s.Shell]
	_, err := io.WriteString(c.Out, script(ctx.Model.Node))
	return err
}

// guess is what can stand in a place of the command line.
type guess struct {
	words   []string
	files   bool
	servers bool // of the topology
}

func guessOf(v *kong.Value, app *kong.Node) (g guess) {
	switch v.Tag.Type {
	case "path", "existingfile", "existingdir", "filecontent":
		g.files = true
	}
	switch v.Tag.Get("predictor") {
	case "server":
		g.servers = true
	case "command":
		for _, command := range app.Children {
			g.words = append(g.words, command.Name)
		}
	}
	if v.Enum != "" {
		g.words = v.EnumSlice()
	}
	return g
}

// positionalGuess is what can stand in the places of a command's arguments. No command has
// two arguments of different kinds.
func positionalGuess(command *kong.Node) (g guess) {
	for _, p := range command.Positional {
		one := guessOf(p, command.Parent)
		g.words = append(g.words, one.words...)
		g.files, g.servers = g.files || one.files, g.servers || one.servers
	}
	return g
}

// flagsOf are the visible flags of a command, those of the whole program included.
func flagsOf(command *kong.Node) (flags []*kong.Flag) {
	for _, group := range command.AllFlags(true) {
		flags = append(flags, group...)
	}
	return flags
}

// flagNames are the ways to write a flag.
func flagNames(f *kong.Flag) []string {
	names := []string{"--" + f.Name}
	if f.Short != 0 {
		names = append(names, "-"+string(f.Short))
	}
	return names
}

// quoteFish quotes a word for fish.
func quoteFish(word string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(word) + "'"
}

// summary is the help of a command or flag on one line.
func summary(help string) string { return strings.Join(strings.Fields(help), " ") }

// serverWords is a shell command that prints the servers of the topology. The program is the
// one that is completed.
const serverWords = `topology 2>/dev/null | awk 'NR > 1 { print $1 }'`

func bashCompletion(app *kong.Node) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	var commands []string
	for _, command := range app.Children {
		commands = append(commands, command.Name)
	}
	var own []string
	for _, f := range flagsOf(app) {
		own = append(own, flagNames(f)...)
	}
	line("# bash completion of herd, written by `herd completion bash`.")
	line("_herd() {")
	line("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= files= i")
	line("  # Bash makes a word of the = in --flag=value.")
	line("  if [[ $cur == = ]]; then cur=")
	line("  elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi")
	line("  for ((i = 1; i < COMP_CWORD; i++)); do")
	line("    if [[ ${COMP_WORDS[i]} != -* ]]; then command=${COMP_WORDS[i]}; break; fi")
	line("  done")
	line("  case $command in")
	line("  '') words=%s ;;", quoteShell(strings.Join(append(commands, own...), " ")))
	for _, command := range app.Children {
		var names []string
		for _, f := range flagsOf(command) {
			names = append(names, flagNames(f)...)
		}
		line("  %s)", command.Name)
		line("    case $prev in")
		for _, f := range flagsOf(command) {
			if !f.IsBool() {
				line("    %s) %s ;;", strings.Join(flagNames(f), "|"), bashGuess(guessOf(f.Value, app)))
			}
		}
		line("    *)")
		line("      if [[ $cur == -* ]]; then words=%s", quoteShell(strings.Join(names, " ")))
		line("      else %s; fi ;;", bashGuess(positionalGuess(command)))
		line("    esac ;;")
	}
	line("  esac")
	line("  local IFS=$' \\t\\n'")
	line(`  COMPREPLY=($(compgen -W "$words" -- "$cur"))`)
	line("  if [[ $files ]]; then")
	line("    local IFS=$'\\n'")
	line(`    COMPREPLY+=($(compgen -f -- "$cur"))`)
	line("    compopt -o filenames 2>/dev/null")
	line("  fi")
	line("}")
	line("complete -F _herd herd")
	return b.String()
}

// bashGuess is a shell command that sets what bashCompletion offers.
func bashGuess(g guess) string {
	var parts []string
	if len(g.words) > 0 {
		parts = append(parts, "words="+quoteShell(strings.Join(g.words, " ")))
	}
	if g.servers {
		parts = append(parts, `words=$("${COMP_WORDS[0]}" `+serverWords+")")
	}
	if g.files {
		parts = append(parts, "files=1")
	}
	if len(parts) == 0 {
		return ":"
	}
	return strings.Join(parts, "; ")
}

func zshCompletion(app *kong.Node) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("#compdef herd")
	line("# zsh completion of herd, written by `herd completion zsh`.")
	line("_herd_servers() {")
	line("  local -a servers")
	line(`  servers=(${(f)"$($program %s)"})`, serverWords)
	line("  _describe server servers")
	line("}")
	line("_herd() {")
	line("  local program=$words[1] curcontext=$curcontext")
	line("  local -a commands")
	line("  commands=(")
	for _, command := range app.Children {
		line("    %s", quoteShell(command.Name+":"+strings.ReplaceAll(summary(command.Help), ":", `\:`)))
	}
	line("  )")
	line("  if (( CURRENT == 2 )); then")
	line("    _describe command commands")
	line("    _arguments %s", strings.Join(zshFlags(app), " "))
	line("    return")
	line("  fi")
	line("  local command=$words[2]")
	line("  shift words")
	line("  (( CURRENT-- ))")
	line("  case $command in")
	for _, command := range app.Children {
		specs := zshFlags(command)
		if len(command.Positional) > 0 {
			specs = append(specs, quoteShell("*:argument:"+zshAction(positionalGuess(command))))
		}
		line("  %s)", command.Name)
		line("    _arguments -s \\\n      %s ;;", strings.Join(specs, " \\\n      "))
	}
	line("  esac")
	line("}")
	// The file is either autoloaded, as the body of _herd, or read by source.
	line(`if [[ $funcstack[1] == _herd ]]; then _herd "$@"; else compdef _herd herd; fi`)
	return b.String()
}

// zshFlags are the specifications of a command's flags for _arguments.
func zshFlags(command *kong.Node) (specs []string) {
	escape := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`)
	for _, f := range flagsOf(command) {
		for _, name := range flagNames(f) {
			spec := name
			if !f.IsBool() {
				if strings.HasPrefix(name, "--") {
					spec += "="
				}
				spec += "[" + escape.Replace(summary(f.Help)) + "]:" + f.Name + ":" + zshAction(guessOf(f.Value, command))
			} else {
				spec += "[" + escape.Replace(summary(f.Help)) + "]"
			}
			specs = append(specs, quoteShell(spec))
		}
	}
	return specs
}

// zshAction is what _arguments offers for a value.
func zshAction(g guess) string {
	switch {
	case len(g.words) > 0:
		return "(" + strings.Join(g.words, " ") + ")"
	case g.servers:
		return "_herd_servers"
	case g.files:
		return "_files"
	}
	return " "
}

func fishCompletion(app *kong.Node) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# fish completion of herd, written by `herd completion fish`.")
	line("complete -c herd -f")
	flags := func(condition string, of []*kong.Flag) {
		for _, f := range of {
			options := "-l " + f.Name
			if f.Short != 0 {
				options += " -s " + string(f.Short)
			}
			if !f.IsBool() {
				options += " " + fishGuess(guessOf(f.Value, app))
			}
			line("complete -c herd -n %s %s -d %s", quoteFish(condition), options, quoteFish(summary(f.Help)))
		}
	}
	const none = "__fish_use_subcommand"
	flags(none, flagsOf(app))
	for _, command := range app.Children {
		line("complete -c herd -n %s -a %s -d %s", none, command.Name, quoteFish(summary(command.Help)))
	}
	for _, command := range app.Children {
		condition := "__fish_seen_subcommand_from " + command.Name
		flags(condition, flagsOf(command))
		if g := positionalGuess(command); len(g.words) > 0 || g.servers || g.files {
			line("complete -c herd -n %s %s", quoteFish(condition), strings.TrimPrefix(fishGuess(g), "-x "))
		}
	}
	return b.String()
}

// fishGuess is the options of fish's complete for what can stand in a place.
func fishGuess(g guess) string {
	switch {
	case len(g.words) > 0:
		return "-x -a " + quoteFish(strings.Join(g.words, " "))
	case g.servers:
		return "-x -a " + quoteFish("(herd "+serverWords+")")
	case g.files:
		return "-r -F"
	}
	return "-x"
}
