package google

import (
	"strings"
	"time"
	_ "time/tzdata" // containers may lack a time zone database
)

// overDailyLimit is the status that some of Google's older services return instead of OVER_QUERY_LIMIT.
const overDailyLimit = "OVER_DAILY_LIMIT"

var pacific = func() *time.Location {
	l, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		panic(err) // tzdata contains it
	}
	return l
}()

// NextMidnight returns the next midnight in Pacific time after t. Google's daily quotas reset then.
func NextMidnight(t time.Time) time.Time {
	y, m, d := t.In(pacific).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, pacific)
}

// IsDailyQuota reports whether an error message or the name of a limit refers to a daily quota. Texts without a period
// count as quotas per minute: if the quota is a daily one, requests fail again after each pause.
//
// The legacy API writes "You have exceeded your daily request quota for this API" or "your rate-limit". Newer APIs write
// the name of a limit, such as SearchNearbyRequestPerDayPerProject, or "per day".
func IsDailyQuota(text string) bool {
	text = strings.ToLower(text)
	for _, phrase := range []string{"daily", "per day", "perday"} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}
