package bus

// Endpoint is an endpoint of the servers' micro service: requests of tools to it, and who
// answers them. The broker's permissions, the service and the limits follow from it.
type Endpoint struct {
	Name    string // a subject token
	Answers Answers

	// OpsOnly endpoints are for operators. If the broker has keys, guests can neither send
	// requests to them, nor see those of operators and their replies.
	OpsOnly bool

	// Stream endpoints take requests about streams, as StreamRequests. If the broker has keys, guests do not see those of others.
	Stream bool

	// Rate is how many requests a server answers per second, and in a burst. 0 is the
	// server's default.
	Rate int
}

// Answers says which servers answer a request.
type Answers int

const (
	AnswerAll   Answers = iota // every server, at <prefix>.<name>
	AnswerOne                  // one of the servers that are ready, at <prefix>.<name>: they are a queue group
	AnswerNamed                // the named server, at <prefix>.<name>.<server>
)

// Subject is the subject of requests to the endpoint. server is used for AnswerNamed only.
func (e Endpoint) Subject(p Prefix, server string) string {
	subject := string(p) + "." + e.Name
	if e.Answers == AnswerNamed {
		subject += "." + server
	}
	return subject
}

// Subjects are the subjects of requests to the endpoint of any of the servers.
func (e Endpoint) Subjects(p Prefix, servers []string) (subjects []string) {
	if e.Answers != AnswerNamed {
		return []string{e.Subject(p, "")}
	}
	for _, server := range servers {
		subjects = append(subjects, e.Subject(p, server))
	}
	return subjects
}

// OpsInbox is the first tokens of the reply subjects of requests to OpsOnly endpoints, which
// guests may not read. No server is named ops.
const OpsInbox = "_INBOX.ops"
