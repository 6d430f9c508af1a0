// The floor of bytes per change: nothing but values and row numbers, by column, as small as zstd
// -19 makes them.
#pragma once

namespace branchline::bench {

double change_entropy(bool phone);
double contact_entropy();

}  // namespace branchline::bench
