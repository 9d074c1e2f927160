package google

import (
	"strings"
	"time"
	_ "time/tzdata" // a container may have none
)

// overDailyLimit is what some of Google's older services say in place of OVER_QUERY_LIMIT.
const overDailyLimit = "OVER_DAILY_LIMIT"

var pacific = func() *time.Location {
	l, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		panic(err) // tzdata has it
	}
	return l
}()

// Midnight is when Google's daily quotas begin anew after t: midnight Pacific time.
func Midnight(t time.Time) time.Time {
	y, m, d := t.In(pacific).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, pacific)
}

// Daily tells from what Google says of a quota whether it is one of a day. Others are of a minute, and what says nothing
// is taken for one of a minute, too: then asking once a minute or so will show.
//
// Google says "You have exceeded your daily request quota for this API", in contrast to "your rate-limit"; in newer
// APIs, a limit such as SearchNearbyRequestPerDayPerProject, or "per day".
func Daily(said string) bool {
	said = strings.ToLower(said)
	for _, word := range []string{"daily", "per day", "perday"} {
		if strings.Contains(said, word) {
			return true
		}
	}
	return false
}
