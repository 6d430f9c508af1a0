// The lines that came before the present one: a master that was restored behind its branches goes
// on under a new line id (SEMANTICS 3, 29).
#pragma once

#include <vector>

#include "common/record/mutation.h"

namespace branchline {

struct PastLine {
  LineId line;
  // Through this csn it and its successor are the same; 0: not known, so nothing is relied upon.
  Csn fork;
  bool operator==(const PastLine&) const = default;
};
using LineHistory = std::vector<PastLine>;  // oldest first, without the present line

// Whether `line` is among them.
bool is_past(const LineHistory& history, LineId line);
// What a mutation's author had applied, as a csn of the present line. Its base was counted on the
// line of its day: what that one has in common with the present one was seen, of the rest nothing
// is known (SEMANTICS 2).
Csn present_base(const LineHistory& history, LineId present, LineId line, Csn base);

// While it lives, the csns that a mutation names (its base, and what it had read upstream) are of
// the present line. They are put back as its author wrote them.
class OnPresentLine {
 public:
  OnPresentLine(Mutation& m, const LineHistory& history, LineId present);
  ~OnPresentLine();
  OnPresentLine(const OnPresentLine&) = delete;
  OnPresentLine& operator=(const OnPresentLine&) = delete;

 private:
  Mutation& m_;
  Csn base_;
  std::vector<Csn> seen_;  // by operation; empty where nothing was changed
};

void put_line_history(Writer& w, const LineHistory& history);
LineHistory get_line_history(Reader& r);

}  // namespace branchline
