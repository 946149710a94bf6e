"""What two attacks share: where the gradient comes from, momentum, schedules, searches."""
