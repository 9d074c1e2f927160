package places

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// outcome is how a query ended in a goroutine other than its caller's.
type outcome struct {
	body     []byte
	err      error
	panicked *sourcePanic // nil if the source returned
}

// sourcePanic is the panic of a source. It goes on in the goroutines that wait for the query, where the stack is lost.
// So its text has the stack.
type sourcePanic struct {
	value any
	stack []byte
}

func (p *sourcePanic) Error() string { return fmt.Sprintf("%v, in\n%s", p.value, p.stack) }

// catch calls query. It returns a panic instead of letting it end the process.
func catch(query func() ([]byte, error)) (o outcome) {
	defer func() {
		if value := recover(); value != nil {
			p, ok := value.(*sourcePanic)
			if !ok {
				p = &sourcePanic{value, debug.Stack()}
			}
			o = outcome{panicked: p}
		}
	}()
	o.body, o.err = query()
	return o
}

// result ends the query in the goroutine of a caller: it returns what the source returned, or panics as the source did.
func (o outcome) result() ([]byte, error) {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.body, o.err
}

// logUnseen logs a panic that no caller gets.
func (o outcome) logUnseen(log *slog.Logger, q Query) {
	if o.panicked != nil {
		log.Error("panic in a places source, in a query that no client waits for", "query", q, "panic", o.panicked.value, "stack", string(o.panicked.stack))
	}
}
