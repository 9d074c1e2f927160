package main

import "fmt"

type topologyCommand struct {
	Format string `enum:"text,dot,mermaid" default:"text" help:"Output format: text, dot (Graphviz) or mermaid."`
}

// Run prints the topology.
func (t topologyCommand) Run(c console) error {
	s, err := loadSettings()
	if err != nil {
		return err
	}
	draw := map[string]func() string{"text": s.graph.Text, "dot": s.graph.DOT, "mermaid": s.graph.Mermaid}[t.Format]
	_, err = fmt.Fprint(c.Out, draw())
	return err
}
