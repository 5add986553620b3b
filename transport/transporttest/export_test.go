package transporttest

// Sentences gives the sentence that each case stands for.
func Sentences() map[string]string {
	all := map[string]string{}
	for _, c := range cases() {
		all[c.name] = c.sentence
	}
	return all
}
