// What hosts must share is proven before the first step: a run directory that is another folder on each host would be
// found out only when the first checkpoint does not come together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "dist/session.h"
#include "train/stop.h"

namespace memring {

/// The first rank of each host writes a mark into the folder and looks for those of the others, again and again for up
/// to `patience` seconds, since network file systems keep what they knew of a folder. Throws Error(Data) on rank 0,
/// naming hosts and folder, where one does not see another's. The marks are gone afterwards; one host writes none.
/// Collective.
void require_shared_folder(Session&, const SignalWatch&, const std::string& folder, double patience);

}  // namespace memring
